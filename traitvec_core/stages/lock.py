"""Locks: one process at a time makes a stage of a trait, on all machines that share the folder.

The kernel holds the locks, so a process that dies, however it dies, releases them.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.provenance import upstream_of
from traitvec_core.storage.trait_lock import holder_of, sign, try_lock, using_trait

__all__ = ["stage_lock"]


@contextmanager
def stage_lock(trait: Path, stage: Stage) -> Iterator[None]:
    """Lock a stage for this process while it makes it, and lock its inputs against changes.

    Stages that do not depend on each other can be made at the same time. The trait's folder cannot
    be removed or replaced meanwhile.

    Args:
        trait: The trait's folder.
        stage: The stage.

    Raises:
        TraitvecError: If another process is making it, one of its inputs, or something from it, or
            if the trait is being removed.
    """
    with ExitStack() as held:
        held.enter_context(using_trait(trait, ""))
        for earlier in upstream_of(stage):
            if SPECS[earlier].make is None:
                # The user writes the definition; no process locks it.
                continue
            _lock(held, trait, stage, earlier, fcntl.LOCK_SH)
        sign(_lock(held, trait, stage, stage, fcntl.LOCK_EX), "")
        yield


def _lock(held: ExitStack, trait: Path, wanted: Stage, locked: Stage, how: int) -> BinaryIO:
    file = try_lock(held, trait, locked, how)
    if file is None:
        raise TraitvecError(
            f"{trait.name}: {wanted} cannot be made now, because {_holder(trait)}; wait until that"
            " run ends, or end it, then run again"
        )
    return file


def _holder(trait: Path) -> str:
    for stage in STAGES:
        if holder := holder_of(trait, stage):
            return f"{stage} is being made by {holder}"
    return "another process has just made one of its stages"
