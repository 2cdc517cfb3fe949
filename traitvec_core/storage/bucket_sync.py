"""The folder of experiments on this machine as a working copy of what lies in a bucket.

In the bucket, what users write and each stage's metadata lie under the names that they have in the
tree. A stage's files lie beside its metadata as one archive, whose name is made of their hashes. It
is put first and never changed, and the metadata last, on the condition that nobody has put another
meanwhile. So whoever finds metadata finds the files that it tells of.
"""

import io
import json
import logging
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Protocol

from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.storage.bucket import Listed, ObjectStorage, OvertakenError
from traitvec_core.storage.files import (
    DEFINITION_FILE,
    HUMAN_SCORES_FILE,
    SETTINGS_FILE,
    display_path,
    is_usable,
    list_experiments,
    write_atomically,
)
from traitvec_core.storage.provenance import Provenance, content_hash

__all__ = ["WorkingCopy", "working_copy"]

_MEMORY_FILE = ".storage.json"
_OF_A_TRAIT = (DEFINITION_FILE, HUMAN_SCORES_FILE)
# Old archives are kept for those who have just read the metadata that names them.
_ARCHIVE_AGE = timedelta(days=1)
# Dates of files in an archive would make equal archives differ.
_DATE = (1980, 1, 1, 0, 0, 0)
_log = logging.getLogger(__name__)


class SyncedTrait(Protocol):
    """What is needed of a trait's folder, which itself works through this module."""

    name: str
    experiment: str
    path: Path

    def provenance(self, stage: Stage) -> Provenance | None:
        """The recorded provenance of a stage."""
        ...

    def is_here(self, provenance: Provenance) -> bool:
        """Whether every recorded file is in the folder."""
        ...


class _Seen(BaseModel):
    etag: str
    hash: str
    size: int
    mtime_ns: int


class _Kept(BaseModel):
    storage: str
    files: dict[str, _Seen]


class WorkingCopy:
    """A folder of experiments and the storage that holds their truth.

    Args:
        root: The folder.
        storage: The storage.
    """

    def __init__(self, root: Path, storage: ObjectStorage) -> None:
        self.root = root
        self.storage = storage
        self._there: dict[str, Listed] = {}
        self._listed: set[str] = set()
        self._lock = Lock()

    # -- what users write, and metadata -------------------------------------------------------

    def refresh(self, below: str = "", patience_s: float | None = None) -> None:
        """Fetch what is new in the storage, and put what was written here.

        Costs one listing, and a request for each file that has changed. What was changed on both
        sides is fetched, and a user's version kept beside it.

        Args:
            below: `experiment` or `experiment/trait`, for that alone.
            patience_s: For how long to try while the storage is away.

        Raises:
            TraitvecError: If the storage refuses, or stays away.
        """
        prefix = f"{below}/" if below else ""
        there = self.storage.listing(prefix, patience_s)
        with self._lock:
            kept = {n: row for n, row in self._there.items() if not n.startswith(prefix)}
            self._there = kept | there
            self._listed.add(prefix)
        changes = [_Change(self, folder, there) for folder in _folders(self.root, below, there)]
        found = self.storage.read([n for change in changes for n in change.wanted], patience_s)
        for change in changes:
            change.take(found)
            for name, data, etag in change.written:
                # Overtaken, it is for the next look, which finds both.
                with suppress(OvertakenError):
                    full = f"{change.folder}/{name}"
                    change.note(name, data, self.storage.put_after(full, data, etag, patience_s))
            change.remember()

    # -- stages -------------------------------------------------------------------------------

    def holds(self, trait: SyncedTrait, provenance: Provenance) -> bool:
        """Whether the storage has a stage's files, as far as this process has looked."""
        name = _place(trait)
        with self._lock:
            is_listed = bool(self._listed & {"", f"{trait.experiment}/", f"{name}/"})
        if not is_listed:
            self.refresh(name)
        return not provenance.files or _archive(trait, provenance) in self._there

    def fetch(self, trait: SyncedTrait, provenance: Provenance) -> None:
        """Bring a stage's files here.

        Raises:
            TraitvecError: If they are not there, or not those that the metadata tells of.
        """
        name = _archive(trait, provenance)
        data = self.storage.read([name]).get(name)
        if data is None:
            with self._lock:
                self._there.pop(name, None)
            raise TraitvecError(
                f"{self.storage.address}/{name} is gone; run again, and {provenance.stage} of"
                f" {trait.name} is made anew"
            )
        folder = (trait.path / METADATA_FILE[provenance.stage]).parent.resolve()
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                files = {file: archive.read(file) for file in provenance.files}
        except (zipfile.BadZipFile, KeyError, ValueError, OSError):
            files = {}
        for file, digest in provenance.files.items():
            # The list comes from a file that anybody with the bucket may have written.
            is_inside = (trait.path / file).resolve().is_relative_to(folder)
            if not is_inside or content_hash(files.get(file, b"")) != digest:
                raise TraitvecError(
                    f"{self.storage.address}/{name} does not hold {file} as the metadata tells;"
                    f" remove it, and {provenance.stage} of {trait.name} is made anew"
                )
        for file, content in files.items():
            write_atomically(trait.path / file, content)

    def put(self, trait: SyncedTrait, provenance: Provenance) -> Provenance:
        """Put a finished stage: its files, then its metadata.

        Returns:
            The provenance that stands now: this one, or that of another machine which has made
            the same meanwhile.

        Raises:
            TraitvecError: If another machine has made something else meanwhile, or the storage is
                away; the stage is kept here then, and the next run puts it.
        """
        stage = provenance.stage
        file = METADATA_FILE[stage]
        metadata = (trait.path / file).read_bytes()
        memory = _Memory(trait.path, self.storage)
        seen = memory.files.get(file)
        try:
            if provenance.files:
                self.storage.put(_archive(trait, provenance), _packed(trait, provenance))
            etag = self.storage.put_after(
                f"{_place(trait)}/{file}", metadata, seen.etag if seen else None
            )
        except OvertakenError:
            return self._overtaken(trait, provenance)
        except TraitvecError as error:
            raise TraitvecError(
                f"{error}; {stage} of {trait.name} is finished, and the next run here puts it there"
            ) from None
        memory.note(file, metadata, etag)
        memory.write()
        self._remove_old_archives(trait, provenance)
        return provenance

    def put_unfinished(self, trait: SyncedTrait) -> None:
        """Put stages that were finished here while the storage could not be reached."""
        memory = _Memory(trait.path, self.storage)
        for stage in STAGES[1:]:
            provenance = trait.provenance(stage)
            if provenance is None or not memory.is_changed(METADATA_FILE[stage]):
                continue
            if trait.is_here(provenance):
                self.put(trait, provenance)

    def remove(self, trait: SyncedTrait) -> None:
        """Remove a trait from the storage, its definition first."""
        names = self.storage.listing(f"{_place(trait)}/")
        self.storage.remove(sorted(names, key=lambda name: not name.endswith(DEFINITION_FILE)))

    def _overtaken(self, trait: SyncedTrait, mine: Provenance) -> Provenance:
        self.refresh(_place(trait))
        theirs = trait.provenance(mine.stage)
        if theirs is not None and theirs.key == mine.key and theirs.is_complete:
            return theirs
        raise TraitvecError(
            f"{trait.name}: another machine has put {mine.stage} into {self.storage.address}"
            " meanwhile, made with other settings or from other files; that one stands. Let one run"
            " end before another of the same trait begins"
        )

    def _remove_old_archives(self, trait: SyncedTrait, provenance: Provenance) -> None:
        current = _archive(trait, provenance)
        stem = current.rsplit("-", 1)[0]
        now = datetime.now(UTC)
        self.storage.remove(
            [
                name
                for name, row in self._there.items()
                if name.startswith(f"{stem}-")
                and name.endswith(".zip")
                and name != current
                and now - row.put_at > _ARCHIVE_AGE
            ]
        )


@lru_cache(maxsize=8)
def working_copy(root: Path, address: str) -> WorkingCopy:
    """The working copy of a storage; one for each folder of a process.

    Raises:
        TraitvecError: If the address cannot be read.
    """
    return WorkingCopy(root, ObjectStorage(address))


class _Change:
    """What differs between one folder and its objects.

    Attributes:
        folder: `experiment` or `experiment/trait`.
        wanted: Names of objects to be fetched.
        written: Files to be put, with the etag of what they take the place of.
    """

    def __init__(self, copy: WorkingCopy, folder: str, there: dict[str, Listed]) -> None:
        self.folder = folder
        self.wanted: dict[str, str] = {}
        self.written: list[tuple[str, bytes, str | None]] = []
        self._path = copy.root / folder
        self._memory = _Memory(self._path, copy.storage)
        self._sources = _OF_A_TRAIT if "/" in folder else (SETTINGS_FILE,)
        for name in _names_in(folder):
            row = there.get(f"{folder}/{name}")
            seen = self._memory.files.get(name)
            is_new = row is not None and (seen is None or seen.etag != row.etag)
            if row is not None and (is_new or not (self._path / name).exists()):
                self.wanted[f"{folder}/{name}"] = row.etag
            elif row is None and seen is not None:
                self._set_aside_if_removed(name)
            elif name in self._sources and self._memory.is_changed(name):
                data = (self._path / name).read_bytes()
                self.written.append((name, data, row.etag if row else None))

    def take(self, found: dict[str, bytes]) -> None:
        """Write what was fetched."""
        for full, etag in self.wanted.items():
            if full not in found:
                continue
            name, data = full.removeprefix(f"{self.folder}/"), found[full]
            path = self._path / name
            here = path.read_bytes() if path.exists() else None
            if here != data:
                if here is not None and name in self._sources and self._memory.is_changed(name):
                    self._set_aside(name, "mine", "the storage has another version, which stands")
                write_atomically(path, data)
            self._memory.note(name, data, etag)

    def note(self, name: str, data: bytes, etag: str) -> None:
        """Remember that a file was put."""
        self._memory.note(name, data, etag)

    def remember(self) -> None:
        """Keep for the next look what is the same now."""
        self._memory.write()

    def _set_aside_if_removed(self, name: str) -> None:
        # Results are put again when the trait is made; what a user wrote is never deleted.
        if name in self._sources and (self._path / name).exists():
            self._set_aside(name, "removed", "it was removed from the storage")
        self._memory.forget(name)

    def _set_aside(self, name: str, mark: str, why: str) -> None:
        path = self._path / name
        aside = path.with_name(f"{name}.{mark}")
        path.replace(aside)
        _log.warning("%s: %s; yours is kept as %s", display_path(path), why, aside.name)


class _Memory:
    """The files of one folder as they were when they and their objects were last the same."""

    def __init__(self, path: Path, storage: ObjectStorage) -> None:
        self._path = path
        self._address = storage.address
        self._is_changed = False
        self.files: dict[str, _Seen] = {}
        # Of another version or another storage, or edited: then contents are compared.
        with suppress(OSError, ValueError):
            kept = _Kept.model_validate_json((path / _MEMORY_FILE).read_bytes())
            if kept.storage == self._address:
                self.files = kept.files

    def is_changed(self, name: str) -> bool:
        """Whether a file is there that is not the one that was seen."""
        path, seen = self._path / name, self.files.get(name)
        try:
            status = path.stat()
            if seen is None:
                return True
            if (status.st_size, status.st_mtime_ns) == (seen.size, seen.mtime_ns):
                return False
            return content_hash(path.read_bytes()) != seen.hash
        except OSError:
            return False

    def note(self, name: str, data: bytes, etag: str) -> None:
        """Remember a file that is the same as its object now."""
        status = (self._path / name).stat()
        self.files[name] = _Seen(
            etag=etag, hash=content_hash(data), size=status.st_size, mtime_ns=status.st_mtime_ns
        )
        self._is_changed = True

    def forget(self, name: str) -> None:
        """Forget a file."""
        self._is_changed = self.files.pop(name, None) is not None

    def write(self) -> None:
        """Write what is remembered, if it is new."""
        if self._is_changed:
            kept = _Kept(storage=self._address, files=self.files)
            write_atomically(self._path / _MEMORY_FILE, kept.model_dump_json().encode())


def _folders(root: Path, below: str, there: Iterable[str]) -> list[str]:
    """Experiments and traits, on either side, whose names may become folders."""
    found = {folder for name in there if (folder := _folder_of(name))}
    for experiment in list_experiments(root):
        found.add(experiment)
        found |= {
            f"{experiment}/{path.name}"
            for path in (root / experiment).iterdir()
            if path.is_dir() and is_usable(path.name)
        }
    return sorted(f for f in found if not below or f == below or f.startswith(f"{below}/"))


def _folder_of(name: str) -> str | None:
    """The folder of an object that is a file of the tree; None for an archive or a stranger."""
    experiment, _, rest = name.partition("/")
    trait, _, file = rest.partition("/")
    if not is_usable(experiment):
        return None
    if rest == SETTINGS_FILE:
        return experiment
    folder = f"{experiment}/{trait}"
    return folder if is_usable(trait) and file in _names_in(folder) else None


def _names_in(folder: str) -> tuple[str, ...]:
    return (*_OF_A_TRAIT, *METADATA_FILE.values()) if "/" in folder else (SETTINGS_FILE,)


def _place(trait: SyncedTrait) -> str:
    return f"{trait.experiment}/{trait.name}"


def _archive(trait: SyncedTrait, provenance: Provenance) -> str:
    """The object that holds a stage's files: named by their hashes, so that it never changes."""
    folder = METADATA_FILE[provenance.stage].partition("/")[0]
    whole = content_hash(json.dumps(provenance.files, sort_keys=True))[:32]
    return f"{_place(trait)}/{folder}/{provenance.stage}-{whole}.zip"


def _packed(trait: SyncedTrait, provenance: Provenance) -> bytes:
    """A stage's files in one archive; tensors do not compress."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(provenance.files):
            archive.writestr(zipfile.ZipInfo(file, _DATE), (trait.path / file).read_bytes())
    return buffer.getvalue()
