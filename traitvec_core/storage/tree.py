"""Files of an experiment, opened, written and deleted only where no link leads out of the tree.

A project from elsewhere can contain links. The folder of all experiments, and the folder of one
experiment, may be links that their owner made. Below, files are read only from inside these two,
and written and deleted only inside the experiment. So every function here takes the trusted folder
(`home`) and a name below it.

Links are looked for before a file is opened: this protects from what a project contains, not from a
program that changes the tree at the same moment.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path, write_atomically

__all__ = [
    "check_in_place",
    "is_without_links",
    "open_in_place",
    "path_to_read",
    "path_to_write",
    "read_inside",
    "remove_inside",
    "write_inside",
]


def is_without_links(home: str, name: str) -> bool:
    """Whether no part of the name below `home` is a link; takes microseconds.

    Args:
        home: The experiment's folder.
        name: Path below it.
    """
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        return False
    path = home
    for part in parts:
        path = f"{path}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return False
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False
    return True


def path_to_read(home: Path, name: str) -> Path:
    """Return the path of a file that may be read; it need not exist.

    Args:
        home: The experiment's folder.
        name: Path below it.

    Raises:
        TraitvecError: If a link on the way, or the file itself, leads out of the experiment's
            folder and out of the folder of all experiments.
    """
    path = home / name
    if not is_without_links(str(home), name):
        _check(path, path, home, home.parent)
    return path


def path_to_write(home: Path, name: str) -> Path:
    """Return the path of a file that may be replaced or deleted; it need not exist.

    The file itself may be a link: replacing or deleting it does not touch what it leads to.

    Args:
        home: The experiment's folder.
        name: Path below it.

    Raises:
        TraitvecError: If a link on the way leads out of the experiment's folder.
    """
    path = home / name
    if not is_without_links(str(home), name):
        _check(path.parent, path, home, home)
    return path


def read_inside(home: Path, name: str) -> bytes:
    """Return the content of a plain file.

    Raises:
        TraitvecError: As for `path_to_read`.
        OSError: If it cannot be read, or is no plain file.
    """
    # A pipe or a device would never end.
    descriptor = os.open(path_to_read(home, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(home / name))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a plain file", str(home / name))
        return file.read()


def write_inside(home: Path, name: str, data: bytes) -> None:
    """Replace a file, atomically.

    Raises:
        TraitvecError: As for `path_to_write`.
    """
    write_atomically(path_to_write(home, name), data)


def remove_inside(home: Path, name: str) -> None:
    """Delete a file or a link; no-op if there is none.

    Raises:
        TraitvecError: As for `path_to_write`.
    """
    path_to_write(home, name).unlink(missing_ok=True)


def open_in_place(home: Path, name: str) -> BinaryIO:
    """Open a file for reading and appending without replacing it; creates it and its folder.

    Raises:
        TraitvecError: As for `path_to_write`, or if the file is a link, has other names (hard
            links) or is no plain file: then something else would be written to.
    """
    path = path_to_write(home, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_in_place(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "a+b")


def check_in_place(path: Path) -> None:
    """Raise unless writing to this path changes a file that has no other name, or makes a new one.

    Raises:
        TraitvecError: If the file is a link, has other names (hard links), or is a pipe or device.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        problem = f"is a link to {os.readlink(path)}, and writing would change that"
    elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        problem = "is no plain file"
    elif status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
        problem = "is a hard link, and writing would change the file's other names too"
    else:
        return
    raise TraitvecError(f"{_shown(path)} {problem}; move it away, or put a copy in its place")


def _check(followed: Path, path: Path, home: Path, area: Path) -> None:
    """Raise if `followed` is in none of the folders `home` and `area`, once links are resolved."""
    allowed = {os.path.realpath(home), os.path.realpath(area)}
    try:
        is_inside = _is_in(os.path.realpath(followed), allowed)
    except ValueError:
        raise TraitvecError(f"{home}: a file's name is not valid") from None
    if is_inside:
        return
    for link in (*reversed(path.parents), path):
        if link.is_relative_to(home) and link != home and link.is_symlink():
            target = os.path.realpath(link)
            if not _is_in(target, allowed):
                raise TraitvecError(
                    f"{_shown(link)} is a link to {target}, outside {_shown(area)}; put a copy in"
                    " its place (only an experiment's whole folder may be on another disk)"
                )
    raise TraitvecError(f"{path}: the name leads out of {_shown(home)}; correct it")


def _is_in(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _shown(path: Path) -> str:
    # `display_path` shows what a link leads to; here the link itself is meant.
    return os.path.join(display_path(path.parent), path.name)
