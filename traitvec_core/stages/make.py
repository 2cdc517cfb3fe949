"""Makes any stage of a trait, and reports which stages are fresh.

Dagster's assets call `make`; a notebook can call it to run a trait without Dagster.
"""

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.remote.keys import redacted, secrets_in_environment
from traitvec_core.stage_names import STAGES, RedoKind, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.context import StageContext, Workbench
from traitvec_core.stages.lock import stage_lock
from traitvec_core.stages.provenance import (
    current_key,
    refresh_elsewhere,
    stage_inputs,
    stage_key,
    stage_settings,
)
from traitvec_core.storage.file_hashes import hashes_in
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.provenance import Provenance
from traitvec_core.trust import check_trust

__all__ = ["StageResult", "State", "make", "stage_states"]

State = Literal["fresh", "partial", "stale", "missing", "broken"]


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        provenance: Its provenance.
        is_reused: Whether it was fresh, so that nothing was done.
    """

    provenance: Provenance
    is_reused: bool


def make(
    stage: Stage,
    folder: TraitFolder,
    settings: ExperimentSettings,
    bench: Workbench | None = None,
    *,
    redo: RedoKind | None = None,
) -> StageResult:
    """Make one stage of one trait from the results of the stages before it, unless it is fresh.

    Args:
        stage: Any stage but `definition`, which the user writes.
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.
        redo: Make it although it is fresh: `all` from its inputs, with the same seeds, and
            `judged_responses` with new judgements; `missing` with new judgements only where there
            is no usable one. The earlier result stays until the new one is complete. A redo that
            was interrupted continues with the next.

    Raises:
        TraitvecError: If the definition or an earlier stage cannot be used, another process is
            making this stage or one that it depends on, the storage cannot be reached, the
            experiment's file would run code or send a key and nobody has allowed it, or a redone
            stage has more judgements missing than the earlier result, which is then kept.
    """
    # Before hours of work whose result could not be written.
    folder.check_writable(stage)
    folder.refresh()
    refresh_elsewhere([stage], folder, settings)
    check_trust(ExperimentFolder(folder.path.parent.parent, folder.path.parent.name), settings)
    fresh = _fresh_provenance(stage, folder, settings)
    if fresh is None or redo is not None:
        with stage_lock(folder.path, stage):
            # Another process may have finished the same while this one waited.
            fresh = _fresh_provenance(stage, folder, settings)
            if fresh is None or redo is not None:
                return _make(stage, folder, settings, bench or Workbench(), redo)
    folder.fetch(stage)
    return StageResult(fresh, is_reused=True)


def _fresh_provenance(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings
) -> Provenance | None:
    key = current_key(stage, folder, settings)
    recorded = folder.provenance(stage)
    if recorded is None or recorded.key != key or not recorded.is_complete:
        return None
    return recorded if folder.is_intact(recorded) else None


def _make(
    stage: Stage,
    folder: TraitFolder,
    settings: ExperimentSettings,
    bench: Workbench,
    redo: RedoKind | None,
) -> StageResult:
    inputs = stage_inputs(stage, folder, settings)
    used_settings = stage_settings(stage, settings)
    key = stage_key(stage, inputs, used_settings)
    provenance = Provenance(stage=stage, key=key, inputs=inputs, settings=used_settings)
    spec = SPECS[stage]
    if spec.make is None:
        raise ValueError(f"{stage} is written by the user, not made")
    if _is_of_another_version(folder.provenance(stage), provenance):
        bench.say(
            f"{stage} is made again: this version of traitvec makes it differently"
            " than the one that made it before"
        )
    context = StageContext(folder, settings, bench, provenance, redo)
    started = time.monotonic()
    with _redact_tracebacks():
        files, metadata = spec.make(context)
    provenance.cost.seconds = round(time.monotonic() - started, 3)
    for earlier in set(STAGES) & set(inputs):
        current = folder.provenance(earlier)
        if current is None or current.content != inputs[earlier]:
            # Without locks, or on another machine: what was read may be a mixture of both.
            raise TraitvecError(
                f"{folder.name}: {earlier} was made again while {stage} was made from it; let one"
                " run of a trait end before the next begins, then run again"
            )
    if redo is not None:
        _check_improved(folder, provenance, metadata)
    committed = folder.commit(stage, files, metadata, provenance)
    if committed.is_complete:
        folder.journal(stage, key).remove()
    return StageResult(committed, is_reused=False)


def _check_improved(folder: TraitFolder, new: Provenance, metadata: Mapping[str, Any]) -> None:
    """Raise if a redone stage would replace a result by one with more judgements missing."""
    recorded = folder.provenance(new.stage)
    if new.is_complete or recorded is None or not folder.is_intact(recorded):
        return
    if recorded.key != new.key:
        return
    count = SPECS[new.stage].count_missing
    before, now = count(folder.metadata(new.stage)), count(metadata)
    if now <= before:
        return
    reasons: dict[str, int] = metadata["unfinished"]
    common = max(reasons, key=lambda reason: reasons[reason])
    raise TraitvecError(
        f"{folder.name}: {new.stage} is not replaced: redone, it lacks {now} judgements"
        f" ({common[:60]}), before {before}; the old result is kept. Redo again to continue"
    )


def _is_of_another_version(recorded: Provenance | None, new: Provenance) -> bool:
    """Whether nothing but the stage's version has changed since it was last made."""
    if recorded is None or recorded.key == new.key:
        return False
    return (recorded.inputs, recorded.settings) == (new.inputs, new.settings)


def stage_states(
    folder: TraitFolder, settings: ExperimentSettings, stages: Sequence[Stage] = STAGES
) -> dict[Stage, State]:
    """Return the state of every stage, judged by hashes alone.

    A stage downstream of one that is not fresh is `stale` at best. `partial` means that some of
    the work failed (a spent budget, a server error) and that the next run continues it. `broken`
    is a definition with problems, or without the pairs that `elicitation` needs.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        stages: The stages to look at, in order; each after all that it is made from.
    """
    states: dict[Stage, State] = {}
    for stage in stages:
        upstream_fresh = all(states[earlier] == "fresh" for earlier in SPECS[stage].upstream)
        states[stage] = _state(stage, folder, settings, upstream_fresh)
    hashes_in(folder.path.absolute()).save()
    return states


def _state(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, upstream_fresh: bool
) -> State:
    if SPECS[stage].make is None:
        try:
            folder.definition().pairs(settings.elicitation)
        except TraitvecError:
            return "broken" if folder.definition_path.exists() else "missing"
        return "fresh"
    provenance = folder.provenance(stage)
    if provenance is None:
        return "missing"
    try:
        key = current_key(stage, folder, settings)
    except TraitvecError:
        return "stale"
    if not (upstream_fresh and provenance.key == key and folder.is_intact(provenance)):
        return "stale"
    return "fresh" if provenance.is_complete else "partial"


@contextmanager
def _redact_tracebacks() -> Iterator[None]:
    """Keep API keys out of tracebacks, which Dagster stores, whatever library raises them."""
    try:
        yield
    except TraitvecError:
        raise
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if not any(secret in text for secret in secrets_in_environment()):
            raise
        message = f"{type(error).__name__}: {redacted(str(error))}"
        # The original may hold the key in its context, so it is left out.
        raise RuntimeError(message).with_traceback(error.__traceback__) from None
