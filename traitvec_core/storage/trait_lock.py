"""The lock on a trait's folder: who works in it, and who may remove or replace it.

The kernel holds the locks, so a process that dies, however it dies, releases them, and neither the
clock nor a database has a say. Any number of processes may use a trait at once. One that removes
or replaces it must be alone. A lock counts on all machines that share the folder.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.processes import is_alive, process_start
from traitvec_core.storage.tree import open_in_place

__all__ = ["changing_trait", "holder_of", "is_locked_ever", "sign", "try_lock", "using_trait"]

_FOLDER, _TRAIT = ".locks", "trait"
# A file system without lock support: conflicts show up there as hash mismatches.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def using_trait(trait: Path, what: str) -> Iterator[None]:
    """Keep a trait's folder from being removed or replaced while this process works in it.

    Args:
        trait: The trait's folder.
        what: What works there, for messages: `run 1a2b3c4d`; empty if something else says it.

    Raises:
        TraitvecError: If another process removes or replaces it, or it does not exist.
    """
    with ExitStack() as held:
        try:
            file = try_lock(held, trait, _TRAIT, fcntl.LOCK_SH)
            if file is None:
                raise TraitvecError(_refusal(trait, "cannot be used now"))
            if what:
                sign(file, what)
        except OSError as error:
            # What cannot be written can still be read.
            if error.errno not in _READ_ONLY:
                raise
        yield


@contextmanager
def changing_trait(trait: Path, what: str, refused: str) -> Iterator[None]:
    """Keep all other processes out of a trait's folder while it is removed or replaced.

    Args:
        trait: The trait's folder; it is created if it does not exist.
        what: What changes it, for messages: `an import`.
        refused: What cannot be done while others work there: `cannot be removed now`.

    Raises:
        TraitvecError: If another process works there. The line names it.
    """
    trait.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        file = try_lock(held, trait, _TRAIT, fcntl.LOCK_EX)
        if file is None:
            raise TraitvecError(_refusal(trait, refused))
        sign(file, what)
        yield


def try_lock(held: ExitStack, trait: Path, name: str, how: int) -> BinaryIO | None:
    """Lock one of a trait's lock files until `held` ends.

    Args:
        held: Keeps the lock.
        trait: The trait's folder.
        name: The lock's name.
        how: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`.

    Returns:
        The open file, or None if another process holds the lock.

    Raises:
        TraitvecError: If the trait's folder does not exist, or a link stands where a lock belongs.
    """
    while True:
        if not trait.is_dir():
            # A lock must not create it again.
            raise TraitvecError(
                f"{trait.name}: its folder was removed; create the trait again, or leave it out"
            )
        file = held.enter_context(open_in_place(trait.parent, f"{trait.name}/{_FOLDER}/{name}"))
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return file
        if _is_still_there(trait / _FOLDER / name, file):
            return file
        # The trait was removed, and perhaps recreated, between the opening and the lock.


def sign(file: BinaryIO, what: str) -> None:
    """Write into a lock file who holds it, for the messages of others."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {
        "what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": since,
        "start": process_start(os.getpid()),
    }  # fmt: skip
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder).encode())
    file.flush()


def is_locked_ever(trait: Path) -> bool:
    """Whether any process has ever locked something in a trait's folder."""
    return (trait / _FOLDER).is_dir()


def holder_of(trait: Path, name: str) -> str | None:
    """Return who holds a lock alone, `process 12 on here, since …`; None if nobody does."""
    path = trait / _FOLDER / name
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            # Shared, so that several processes can look at the same time.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _signature(path)
    except OSError:
        return None
    return None


def _refusal(trait: Path, refused: str) -> str:
    # A stage's own lock says more than the trait's, which several processes may share.
    names = sorted(path.name for path in (trait / _FOLDER).glob("*") if path.name != _TRAIT)
    stages = (f"{name} is being made by {by}" for name in names if (by := holder_of(trait, name)))
    by = next(stages, None) or f"it is in use by {_signature(trait / _FOLDER / _TRAIT)}"
    return f"{trait.name} {refused}: {by}; wait until that ends, or end it, then try again"


def _signature(path: Path) -> str:
    """Who signed a lock file last; `another process` if that one has ended."""
    try:
        holder = json.loads(path.read_bytes())
        pid, host = int(holder["pid"]), str(holder["host"])
        if host == socket.gethostname() and not is_alive(pid, holder["start"]):
            # The lock is held by one that signed before it.
            return "another process"
        what = f"{holder['what']}, " if holder["what"] else ""
        return f"{what}process {pid} on {host}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _is_still_there(path: Path, file: BinaryIO) -> bool:
    try:
        now, locked = path.lstat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (locked.st_dev, locked.st_ino)
