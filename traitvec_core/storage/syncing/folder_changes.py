"""What differs between the folders of a tree and their objects in the bucket."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE
from traitvec_core.storage.bucket import Listed
from traitvec_core.storage.files import (
    DEFINITION_FILE,
    EARLIER_DEFINITION,
    HUMAN_SCORES_FILE,
    SETTINGS_FILE,
    display_path,
    is_usable,
    list_experiments,
)
from traitvec_core.storage.syncing.sync_record import SyncRecord
from traitvec_core.storage.tree import path_to_read, path_to_write, read_inside, write_inside

__all__ = ["FolderChanges", "synced_files"]

# What a user writes for a trait, with earlier definitions; all else in its folder is a result.
_TRAIT_FILES = (DEFINITION_FILE, HUMAN_SCORES_FILE)
_log = logging.getLogger(__name__)


class FolderChanges:
    """The differences between one folder and its objects.

    A file that a user wrote and whose object was removed is renamed at once; it is never deleted.
    Files behind links that leave the tree are not synced: a warning names them.

    Args:
        root: The folder of all experiments.
        folder: `experiment` or `experiment/trait`.
        names: The files to compare, from `synced_files`.
        address: The storage's address.
        objects: The objects that the storage lists, by name.

    Attributes:
        folder: `experiment` or `experiment/trait`.
        to_fetch: The etag of every object to fetch, by name.
        to_put: Every file to put: name, content, and the etag of the object that it replaces.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        names: Iterable[str],
        address: str,
        objects: Mapping[str, Listed],
    ) -> None:
        self.folder = folder
        self.to_fetch: dict[str, str] = {}
        self.to_put: list[tuple[str, bytes, str | None]] = []
        self._path = root / folder
        experiment, _, trait = folder.partition("/")
        self._home, self._below = root / experiment, f"{trait}/" if trait else ""
        self._record = SyncRecord(self._home, trait, address)
        for name in filter(self._is_in_the_tree, names):
            listed = objects.get(f"{folder}/{name}")
            synced = self._record.files.get(name)
            is_new = listed is not None and (synced is None or synced.etag != listed.etag)
            if listed is not None and (is_new or not (self._path / name).exists()):
                self.to_fetch[f"{folder}/{name}"] = listed.etag
            elif listed is None and synced is not None:
                self._set_aside_removed(name)
            elif _is_users(name) and self._record.is_changed(name):
                data = read_inside(self._home, f"{self._below}{name}")
                self.to_put.append((name, data, listed.etag if listed else None))

    def write_fetched(self, contents: Mapping[str, bytes]) -> None:
        """Write the fetched objects, given by name. A user's own changes are kept beside them."""
        for full_name, etag in self.to_fetch.items():
            if full_name not in contents:
                continue
            name, data = full_name.removeprefix(f"{self.folder}/"), contents[full_name]
            path = self._path / name
            inside = f"{self._below}{name}"
            before = read_inside(self._home, inside) if path.exists() else None
            if before != data:
                is_edited = before is not None and self._record.is_changed(name)
                if _is_users(name) and is_edited:
                    self._set_aside(name, "mine", "the storage has a newer version, which is used")
                write_inside(self._home, inside, data)
            self._record.note(name, data, etag)

    def note_put(self, name: str, data: bytes, etag: str) -> None:
        """Record that a file was put."""
        self._record.note(name, data, etag)

    def save_record(self) -> None:
        """Save what folder and bucket now have in common, for the next refresh."""
        self._record.write()

    def _is_in_the_tree(self, name: str) -> bool:
        try:
            path_to_read(self._home, f"{self._below}{name}")
            path_to_write(self._home, f"{self._below}{name}")
        except TraitvecError as error:
            _log.warning("not synced: %s", error)
            return False
        return True

    def _set_aside_removed(self, name: str) -> None:
        # Results stay and are put again with the next run.
        if _is_users(name) and (self._path / name).exists():
            self._set_aside(name, "removed", "it was removed from the storage")
        self._record.forget(name)

    def _set_aside(self, name: str, suffix: str, reason: str) -> None:
        path = self._path / name
        aside = path.with_name(f"{name}.{suffix}")
        path.replace(aside)
        _log.warning("%s: %s; yours is kept as %s", display_path(path), reason, aside.name)


def synced_files(root: Path, below: str, objects: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of the files to compare, by experiment and trait, sorted.

    These are all experiments and traits on either side whose names may become folders.

    Args:
        root: The folder of all experiments.
        below: `experiment` or `experiment/trait` to return only what is in it; "" for everything.
        objects: Names of the objects in the storage.
    """
    names: dict[str, set[str]] = {}
    for full_name in objects:
        if (place := _place_of(full_name)) is not None:
            folder, name = place
            names.setdefault(folder, set()).add(name)
    for experiment in list_experiments(root):
        names.setdefault(experiment, set())
        for path in (root / experiment).iterdir():
            if path.is_dir() and is_usable(path.name):
                earlier = filter(EARLIER_DEFINITION.fullmatch, os.listdir(path))
                names.setdefault(f"{experiment}/{path.name}", set()).update(earlier)
    return {
        folder: sorted(names[folder].union(_fixed_names(folder)))
        for folder in sorted(names)
        if not below or folder == below or folder.startswith(f"{below}/")
    }


def _place_of(name: str) -> tuple[str, str] | None:
    """Return folder and file of an object of the tree; None for archives and others."""
    experiment, _, rest = name.partition("/")
    trait, _, file = rest.partition("/")
    if not is_usable(experiment):
        return None
    if rest == SETTINGS_FILE:
        return experiment, rest
    folder = f"{experiment}/{trait}"
    is_synced = file in _fixed_names(folder) or EARLIER_DEFINITION.fullmatch(file)
    return (folder, file) if is_usable(trait) and is_synced else None


def _fixed_names(folder: str) -> tuple[str, ...]:
    return (*_TRAIT_FILES, *METADATA_FILE.values()) if "/" in folder else (SETTINGS_FILE,)


def _is_users(name: str) -> bool:
    """Whether a user writes this file; others are results."""
    return name in {*_TRAIT_FILES, SETTINGS_FILE} or bool(EARLIER_DEFINITION.fullmatch(name))
