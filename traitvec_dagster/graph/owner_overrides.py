"""Which settings a run's config may override: nothing that loads code or opens a connection.

Anyone who reaches the UI can write a run's config. What an experiment makes this machine load,
which servers receive its prompts and keys, and what it may spend, is decided by `experiment.yaml`
and the command line.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.settings.scorer import REPETITION
from traitvec_core.storage.folders import ExperimentFolder

__all__ = [
    "BUDGET_SETTINGS",
    "OPEN_SETTINGS",
    "OWNER_SETTINGS",
    "VOUCHED_SETTINGS",
    "owner_typed_overrides",
    "settings_with_overrides",
]

# Both are part of traitvec.
_SHIPPED_JUDGES: tuple[Any, ...] = (EMBEDDED_MODEL, REPETITION)

OWNER_SETTINGS: Mapping[str, tuple[Any, ...]] = {
    "model": (EMBEDDED_MODEL,),
    "revision": (),
    "trust_remote_code": (False,),
    # Where flash attention is not installed, transformers may load a kernel from the hub.
    "attention": ("auto", "sdpa", "eager"),
    "engine": (),
    "engine_url": (),
    "engine_model": (),
    "judge_model": _SHIPPED_JUDGES,
    "scorers": _SHIPPED_JUDGES,
    "coherence_judge": (None, *_SHIPPED_JUDGES),
    "second_judge": (None, *_SHIPPED_JUDGES),
    # With it, a judge's name means another server, which gets another key.
    "judge_provider": (),
    "judge_base_url": (),
    "gradient_objective": (None,),
}
"""Settings that load code, files or models, or open connections → values that do neither."""

OPEN_SETTINGS = frozenset({
    "description", "owners", "judge_mode", "judge_timeout_s", "judge_preflight", "also_judge",
    "judge_repeats", "agreement_sample", "dtype", "quantization", "engine_reads",
    "tensor_parallel", "max_model_len", "n_examples", "batch_size", "max_concurrent_judges",
    "elicitation", "second_elicitation", "style_stress", "instruction_role", "sampling",
    "threshold", "min_coherence", "pairing",
    "positions", "methods", "layers", "scale", "gradient_penalty", "probe_penalty", "steering",
    "monitoring_prompts", "thresholds", "severities", "auto_run", "schedule",
    "follow_data_versions",
})  # fmt: skip
"""Settings that anyone who can start a run may override."""

BUDGET_SETTINGS = frozenset({"max_judge_usd", "judge_prices"})
"""Settings that limit spending: a run's config may lower the limit, and leaves prices alone."""

VOUCHED_SETTINGS = frozenset({"accepted"})
"""Settings by which the owner vouches for something: a run's config leaves them alone."""

# What the owner typed for the run of this process; no run config, tag or request sets it.
_typed_by_owner: ContextVar[Mapping[str, Any] | None] = ContextVar("typed_by_owner", default=None)
_LONGEST_SHOWN = 60


@contextmanager
def owner_typed_overrides(overrides: Mapping[str, Any]) -> Iterator[None]:
    """Use these overrides, all of them, inside this context: they come from the command line."""
    token = _typed_by_owner.set(overrides)
    try:
        yield
    finally:
        _typed_by_owner.reset(token)


def settings_with_overrides(
    folder: ExperimentFolder, overrides: dict[str, Any]
) -> ExperimentSettings:
    """Return an experiment's settings with the overrides of a run's config.

    Inside `owner_typed_overrides`, those count instead.

    Raises:
        TraitvecError: If an override is not valid, would load code or open a connection that
            `experiment.yaml` does not name for the same setting, or would raise what may be spent;
            or if `experiment.yaml` is not valid by itself.
    """
    typed = _typed_by_owner.get()
    if typed is not None:
        return folder.settings(dict(typed))
    settings = folder.settings(overrides, are_owners=False)
    if not overrides:
        return settings
    file = folder.settings()
    _check_budget(settings, file)
    for name in VOUCHED_SETTINGS:
        if getattr(settings, name) != getattr(file, name):
            raise TraitvecError(
                f"{name}: the owner of {folder.name} answers for it, so a run's config cannot set"
                " it; write it into experiment.yaml"
            )
    written = _owned(file)
    for (name, key), value in _owned(settings).items():
        is_written = (name, key) in written and written[name, key] == value
        if not is_written and value not in OWNER_SETTINGS.get(name, ()):
            shown = repr(value)
            if len(shown) > _LONGEST_SHOWN:
                shown = f"{shown[:_LONGEST_SHOWN]}…"
            raise TraitvecError(
                f"{name}{key}: {shown} may load code or open a connection, so a run's config"
                " cannot set it; write it into experiment.yaml, or use `traitvec run --set`"
                f" (experiment {folder.name})"
            )
    return settings


def _check_budget(settings: ExperimentSettings, file: ExperimentSettings) -> None:
    limit, given = file.max_judge_usd, settings.max_judge_usd
    if limit is not None and not (given is not None and given <= limit):
        raise TraitvecError(
            f"max_judge_usd: {given} is above the {limit:g} of experiment.yaml, and a run's config"
            " can only lower it; change the file, or use `traitvec run --max-judge-usd`"
        )
    if settings.judge_prices != file.judge_prices:
        # With a price of 0, no limit would ever be reached.
        raise TraitvecError(
            "judge_prices: the limit on spending is counted by them, so a run's config cannot set"
            " them; write them into experiment.yaml, or use `traitvec run --set`"
        )


def _owned(settings: ExperimentSettings) -> dict[tuple[str, str], Any]:
    """Return the owner's settings by name; those with keys, such as `scorers`, by each key."""
    owned: dict[tuple[str, str], Any] = {}
    for name in type(settings).model_fields:
        if name in OPEN_SETTINGS | BUDGET_SETTINGS | VOUCHED_SETTINGS:
            continue
        value = getattr(settings, name)
        if isinstance(value, Mapping):
            owned |= {(name, f".{key}"): each for key, each in value.items()}
        else:
            owned[name, ""] = value
    return owned
