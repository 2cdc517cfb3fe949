"""The stages on disk: what each is made from, whether it is fresh, and how it is made.

`make` is all that Dagster's assets call, and all that a notebook needs to run a trait without it.
"""

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.failures import KEY_NAMES, redacted
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.context import StageContext, Workbench
from traitvec_core.stages.lock import being_made
from traitvec_core.stages.provenance import current_key, stage_inputs, stage_key, stage_settings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import Provenance

__all__ = ["StageResult", "make", "stage_states"]

State = Literal["fresh", "partial", "stale", "missing", "broken"]


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        provenance: Its provenance.
        is_reused: Whether it was fresh already and nothing was done.
    """

    provenance: Provenance
    is_reused: bool


def make(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, bench: Workbench | None = None
) -> StageResult:
    """Make one stage of one trait from what the stages before it left, unless it is fresh.

    Args:
        stage: Any stage but `definition`, which the user writes.
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.

    Raises:
        TraitvecError: If the definition or an earlier stage cannot be used, if another process
            makes the stage or one that belongs to it, or if the storage is away.
    """
    folder.refresh()
    fresh = _fresh(stage, folder, settings)
    if fresh is None:
        with being_made(folder.path, stage):
            # Whoever made it while this process came to it may have made the same.
            fresh = _fresh(stage, folder, settings)
            if fresh is None:
                return _made(stage, folder, settings, bench or Workbench())
    folder.fetch(stage)
    return StageResult(fresh, is_reused=True)


def _fresh(stage: Stage, folder: TraitFolder, settings: ExperimentSettings) -> Provenance | None:
    key = current_key(stage, folder, settings)
    found = folder.provenance(stage)
    is_whole = found is not None and found.key == key and found.is_complete
    return found if found is not None and is_whole and folder.is_intact(found) else None


def _made(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, bench: Workbench
) -> StageResult:
    inputs = stage_inputs(stage, folder, settings)
    chosen = stage_settings(stage, settings)
    key = stage_key(stage, inputs, chosen)
    provenance = Provenance(stage=stage, key=key, inputs=inputs, settings=chosen)
    spec = SPECS[stage]
    if spec.make is None:
        raise ValueError(f"{stage} is written by the user, not made")
    context = StageContext(folder, settings, bench, provenance)
    started = time.monotonic()
    with _no_key_in_tracebacks():
        files, metadata = spec.make(context)
    provenance.cost.seconds = round(time.monotonic() - started, 3)
    for earlier in set(STAGES) & set(inputs):
        now = folder.provenance(earlier)
        if now is None or now.content != inputs[earlier]:
            # Without locks, or on another machine: what was read may be neither old nor new.
            raise TraitvecError(
                f"{folder.name}: {earlier} was made again while {stage} was made from it; let one"
                " run end before another of the same trait begins, and run again"
            )
    done = folder.commit(stage, files, metadata, provenance)
    if done.is_complete:
        folder.journal(stage, key).remove()
    return StageResult(done, is_reused=False)


def stage_states(folder: TraitFolder, settings: ExperimentSettings) -> dict[Stage, State]:
    """Tell of every stage whether it is fresh, stale or missing, by hashes alone.

    A stage behind one that is not fresh is stale at best. `partial` is one that could not finish
    all of its work (a spent budget, a server that failed) and goes on with it in the next run.
    `broken` is a definition with problems.
    """
    states: dict[Stage, State] = {}
    for stage in STAGES:
        upstream_fresh = all(states[earlier] == "fresh" for earlier in SPECS[stage].upstream)
        states[stage] = _state(stage, folder, settings, upstream_fresh)
    return states


def _state(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, upstream_fresh: bool
) -> State:
    if SPECS[stage].make is None:
        try:
            folder.definition()
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
def _no_key_in_tracebacks() -> Iterator[None]:
    """Whatever breaks, and whatever it says: tracebacks are kept, and keys must not be in them."""
    try:
        yield
    except TraitvecError:
        raise
    except Exception as error:
        whole = "".join(traceback.format_exception(error))
        keys = [os.environ.get(name, "").strip() for name in KEY_NAMES]
        if not any(key and key in whole for key in keys):
            raise
        said = f"{type(error).__name__}: {redacted(str(error))}"
        # What it was raised from holds the key perhaps, and is left out.
        raise RuntimeError(said).with_traceback(error.__traceback__) from None
