"""Content hashes of files, remembered for as long as a file is untouched.

A file counts as untouched while its size, its times of modification and of status change, and its
inode are the same. A file that was changed shortly before it was hashed may be changed again
without a new time, so its hash is not remembered (git calls such files racy).
"""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.stage_record import values_hash
from traitvec_core.storage.trait_cache import read_cache, write_cache
from traitvec_core.storage.tree import is_without_links, path_to_read, read_inside

__all__ = ["FileHashes", "hashes_in"]

# Far above the resolution of any file system's times (FAT: 2 s).
_SETTLED_NS = 3_000_000_000
_CACHE = "hashes"
# Marks the hash of a metadata file's values, which is kept beside that of its bytes.
_VALUES = "values:"

_Stamp = tuple[int, int, int, int]


@lru_cache(maxsize=10_000)
def hashes_in(folder: Path) -> "FileHashes":
    """Return the hashes of a trait's files, shared by this process.

    Args:
        folder: The trait's folder, absolute.
    """
    return FileHashes(folder)


class FileHashes:
    """Content hashes of the files of one trait.

    Args:
        folder: The trait's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = str(folder.parent)
        self._known: dict[str, tuple[_Stamp, str]] | None = None
        self._has_news = False

    def of(self, name: str) -> str:
        """Return the content hash of a file; it is read only if it was touched.

        Args:
            name: Path below the folder.

        Raises:
            OSError: If the file cannot be read.
            TraitvecError: If a link to it leads out of the tree.
        """
        return self._remembered(name, name, content_hash)

    def of_values(self, name: str) -> str:
        """Return the hash of a metadata file's values; it is read only if it was touched.

        Args:
            name: Path below the folder.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no JSON object.
        """
        return self._remembered(f"{_VALUES}{name}", name, values_hash)

    def _remembered(self, key: str, name: str, hash_of: Callable[[bytes], str]) -> str:
        if self._known is None:
            self._known = _read(self._folder)
        inside = f"{self._folder.name}/{name}"
        # Here every microsecond counts: a project has tens of thousands of files.
        if not is_without_links(self._home, inside):
            path_to_read(self._folder.parent, inside)
        path = f"{self._home}/{inside}"
        started_ns = time.time_ns()
        before = _stamp(path)
        stamp, digest = self._known.get(key, (None, ""))
        if stamp == before:
            return digest
        digest = hash_of(read_inside(self._folder.parent, inside))
        _, changed_ns, status_changed_ns, _ = before
        is_settled = max(changed_ns, status_changed_ns) < started_ns - _SETTLED_NS
        if is_settled and _stamp(path) == before:
            self._known[key] = before, digest
            self._has_news = True
        return digest

    def save(self) -> None:
        """Keep the hashes for the next process; no-op if there is nothing new."""
        if not self._has_news or self._known is None:
            return
        self._has_news = False
        self._known = {
            key: row
            for key, row in self._known.items()
            if (self._folder / key.removeprefix(_VALUES)).exists()
        }
        write_cache(self._folder, _CACHE, {n: [*row[0], row[1]] for n, row in self._known.items()})


def _stamp(path: str) -> _Stamp:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _read(folder: Path) -> dict[str, tuple[_Stamp, str]]:
    stored = read_cache(folder, _CACHE)
    if not isinstance(stored, dict):
        return {}
    try:
        return {
            str(name): ((int(size), int(changed), int(status), int(inode)), str(digest))
            for name, (size, changed, status, inode, digest) in stored.items()
        }
    except (TypeError, ValueError):
        return {}
