"""The stages on disk: what each is made from, whether it is fresh, and how it is made.

`make` is all that Dagster's assets call, and all that a notebook needs to run a trait without it.
"""

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeGuard

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.failures import KEY_NAMES, redacted
from traitvec_core.provenance import STAGES, Provenance, Stage, stage_key, stage_settings
from traitvec_core.stages import MAKERS
from traitvec_core.stages.inputs import stage_inputs
from traitvec_core.stages.work import Work, Workbench
from traitvec_core.store import TraitFolder

__all__ = ["Made", "Workbench", "make", "stage_states"]

State = Literal["fresh", "partial", "stale", "missing", "broken"]


@dataclass(frozen=True)
class Made:
    """A finished stage.

    Attributes:
        provenance: Its provenance.
        is_reused: Whether it was fresh already and nothing was done.
    """

    provenance: Provenance
    is_reused: bool


def make(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, bench: Workbench | None = None
) -> Made:
    """Make one stage of one trait from what the stages before it left, unless it is fresh.

    Args:
        stage: Any stage but `definition`, which the user writes.
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.

    Raises:
        TraitvecError: If the definition or an earlier stage cannot be used.
    """
    inputs = stage_inputs(stage, folder, settings)
    chosen = stage_settings(stage, settings)
    key = stage_key(stage, inputs, chosen)
    before = folder.provenance(stage)
    if _is_whole(before, key) and folder.is_intact(before):
        return Made(before, is_reused=True)
    provenance = Provenance(stage=stage, key=key, inputs=inputs, settings=chosen)
    work = Work(folder, settings, bench or Workbench(), provenance)
    started = time.monotonic()
    with _no_key_in_tracebacks():
        files, metadata = MAKERS[stage](work)
    provenance.cost.seconds = round(time.monotonic() - started, 3)
    done = folder.commit(stage, files, metadata, provenance)
    if done.is_complete:
        folder.journal(stage, key).remove()
    return Made(done, is_reused=False)


def stage_states(folder: TraitFolder, settings: ExperimentSettings) -> dict[Stage, State]:
    """Tell of every stage whether it is fresh, stale or missing, by hashes alone.

    A stage behind one that is not fresh is stale at best. `partial` is one that could not finish
    all of its work (a spent budget, a server that failed) and goes on with it in the next run.
    `broken` is a definition with problems.
    """
    states: dict[Stage, State] = {}
    upstream_fresh = True
    for stage in STAGES:
        states[stage] = _state(stage, folder, settings, upstream_fresh)
        upstream_fresh = upstream_fresh and states[stage] == "fresh"
    return states


def _state(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, upstream_fresh: bool
) -> State:
    if stage == "definition":
        try:
            folder.definition()
        except TraitvecError:
            return "broken" if folder.definition_path.exists() else "missing"
        return "fresh"
    provenance = folder.provenance(stage)
    if provenance is None:
        return "missing"
    try:
        inputs = stage_inputs(stage, folder, settings)
        key = stage_key(stage, inputs, stage_settings(stage, settings))
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


def _is_whole(provenance: Provenance | None, key: str) -> TypeGuard[Provenance]:
    return provenance is not None and provenance.key == key and provenance.is_complete
