"""Locks: one process at a time makes a stage of a trait, on all machines that share the folder.

The kernel holds the locks, so a process that dies, however it dies, releases them.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.provenance import upstream_of
from traitvec_core.storage.tree import open_in_place

__all__ = ["stage_lock"]

_FOLDER = ".locks"
# A file system without lock support: conflicts show up there as hash mismatches.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def stage_lock(trait: Path, stage: Stage) -> Iterator[None]:
    """Lock a stage for this process while it makes it, and lock its inputs against changes.

    Stages that do not depend on each other can be made at the same time.

    Args:
        trait: The trait's folder.
        stage: The stage.

    Raises:
        TraitvecError: If another process is making it, one of its inputs, or something from it.
    """
    with ExitStack() as held:
        for earlier in upstream_of(stage):
            if SPECS[earlier].make is None:
                # The user writes the definition; no process locks it.
                continue
            _lock(held, trait, stage, earlier, fcntl.LOCK_SH)
        file = _lock(held, trait, stage, stage, fcntl.LOCK_EX)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}".encode())
        file.flush()
        yield


def _lock(held: ExitStack, trait: Path, wanted: Stage, locked: Stage, how: int) -> BinaryIO:
    file = held.enter_context(open_in_place(trait.parent, f"{trait.name}/{_FOLDER}/{locked}"))
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TraitvecError(
            f"{trait.name}: {wanted} cannot be made now, because {_holder(trait)}; wait until that"
            " run ends, or end it, then run again"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return file


def _holder(trait: Path) -> str:
    for stage in STAGES:
        if not (trait / _FOLDER / stage).is_file():
            continue
        with open_in_place(trait.parent, f"{trait.name}/{_FOLDER}/{stage}") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().decode("utf-8", "replace")
                return f"{stage} is being made by {holder or 'another process'}"
    return "another process has just made one of its stages"
