"""Which settings a run's config may override: nothing that runs code, unless the owner typed it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["owner_typed_overrides", "settings_with_overrides"]

# A fact about this process that no run config, tag or request can set.
_is_typed_by_owner: ContextVar[bool] = ContextVar("is_typed_by_owner", default=False)


@contextmanager
def owner_typed_overrides() -> Iterator[None]:
    """Accept all overrides inside this context: they come from the command line."""
    token = _is_typed_by_owner.set(True)
    try:
        yield
    finally:
        _is_typed_by_owner.reset(token)


def settings_with_overrides(
    folder: ExperimentFolder, overrides: dict[str, Any]
) -> ExperimentSettings:
    """Return an experiment's settings with the overrides of a run's config.

    Raises:
        TraitvecError: If an override is not valid, or would run code that `experiment.yaml` does
            not name. Anyone who reaches the UI can write a run's config.
    """
    settings = folder.settings(overrides)
    if not overrides or _is_typed_by_owner.get():
        return settings
    try:
        written = _what_runs_code(folder.settings())
    except TraitvecError:
        # The file alone is not valid, such as one without a model.
        written = {}
    for name, value in _what_runs_code(settings).items():
        if name not in written or written[name] != value:
            raise TraitvecError(
                f"{name}: {value!r} runs code, so a run's config cannot set it; write it into"
                f" experiment.yaml, or use `traitvec run --set` (experiment {folder.name})"
            )
    return settings


def _what_runs_code(settings: ExperimentSettings) -> dict[str, Any]:
    """Return the settings that have code imported or executed, by name."""
    values = {
        "judge_model": settings.judge_model,
        "second_judge": settings.second_judge,
        "coherence_judge": settings.coherence_judge,
        **{f"scorers.{trait}": name for trait, name in settings.scorers.items()},
    }
    code: dict[str, Any] = {
        name: value for name, value in values.items() if value and value.startswith("python:")
    }
    if settings.gradient_objective is not None:
        code["gradient_objective"] = settings.gradient_objective
    if settings.trust_remote_code:
        # The code is the model's.
        code |= {
            "trust_remote_code": True, "model": settings.model, "revision": settings.revision,
        }  # fmt: skip
    return code
