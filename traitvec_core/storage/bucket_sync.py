"""Keeps the folder of experiments on this machine in sync with a bucket.

In the bucket, user-written files and each stage's metadata have the same names as in the tree. A
stage's other files are in one archive beside its metadata, named by their hash. The archive is put
first and never changes; the metadata is put last, and only if no one else has put it in the
meantime. So a reader of the metadata can also read the files that it lists.
"""

import os
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE, STAGES
from traitvec_core.storage.bucket import STORAGE_VARIABLE, Listed, ObjectStorage, OvertakenError
from traitvec_core.storage.files import DEFINITION_FILE
from traitvec_core.storage.provenance import Provenance, content_hash
from traitvec_core.storage.syncing.archives import (
    SyncedTrait,
    archive_name,
    pack_stage,
    trait_prefix,
    unpack_stage,
)
from traitvec_core.storage.syncing.folder_changes import FolderChanges, synced_files
from traitvec_core.storage.syncing.sync_record import SyncRecord
from traitvec_core.storage.tree import path_to_write, write_inside

__all__ = ["WorkingCopy", "configured_working_copy", "working_copy"]

# Old archives stay for a while: another machine may just have read the metadata that names them.
_ARCHIVE_AGE = timedelta(days=1)


class WorkingCopy:
    """A folder of experiments whose source of truth is a bucket.

    Args:
        root: The folder.
        storage: The bucket.
    """

    def __init__(self, root: Path, storage: ObjectStorage) -> None:
        self.root = root
        self.storage = storage
        self._objects: dict[str, Listed] = {}
        self._listed_prefixes: set[str] = set()
        self._lock = Lock()

    # -- user-written files and metadata ------------------------------------------------------

    def refresh(self, below: str = "", patience_s: float | None = None) -> None:
        """Fetch what is new in the storage, and put what users wrote here.

        Takes one listing, and one request per changed file. A file that changed on both sides is
        fetched, and the user's version is kept beside it.

        Args:
            below: `experiment` or `experiment/trait` to refresh only that.
            patience_s: How long to retry while the storage is unreachable.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """
        prefix = f"{below}/" if below else ""
        objects = self.storage.listing(prefix, patience_s)
        with self._lock:
            others = {n: row for n, row in self._objects.items() if not n.startswith(prefix)}
            self._objects = others | objects
            self._listed_prefixes.add(prefix)
        changes = [
            FolderChanges(self.root, folder, names, self.storage.address, objects)
            for folder, names in synced_files(self.root, below, objects).items()
        ]
        contents = self.storage.read([n for change in changes for n in change.to_fetch], patience_s)
        for change in changes:
            change.write_fetched(contents)
            for name, data, etag in change.to_put:
                # If another machine was faster, the next refresh sees both versions.
                with suppress(OvertakenError):
                    full_name = f"{change.folder}/{name}"
                    new_etag = self.storage.put_after(full_name, data, etag, patience_s)
                    change.note_put(name, data, new_etag)
            change.save_record()

    # -- stages -------------------------------------------------------------------------------

    def holds(self, trait: SyncedTrait, provenance: Provenance) -> bool:
        """Whether the storage has a stage's files, according to this process's latest listing."""
        prefix = trait_prefix(trait)
        with self._lock:
            is_listed = bool(self._listed_prefixes & {"", f"{trait.experiment}/", f"{prefix}/"})
        if not is_listed:
            self.refresh(prefix)
        return not provenance.files or archive_name(trait, provenance) in self._objects

    def fetch(self, trait: SyncedTrait, provenance: Provenance) -> None:
        """Download a stage's files.

        Raises:
            TraitvecError: If they are missing, or differ from what the metadata lists.
        """
        name = archive_name(trait, provenance)
        data = self.storage.read([name]).get(name)
        if data is None:
            with self._lock:
                self._objects.pop(name, None)
            raise TraitvecError(
                f"{self.storage.address}/{name} is missing; run again to recreate"
                f" {provenance.stage} of {trait.name}"
            )
        home = trait.path.parent
        folder = path_to_write(home, f"{trait.name}/{METADATA_FILE[provenance.stage]}").parent
        files = unpack_stage(data, provenance)
        for file, digest in provenance.files.items():
            # Anyone who can write to the bucket may have written this list.
            is_inside = (trait.path / file).resolve().is_relative_to(folder.resolve())
            if not is_inside or content_hash(files.get(file, b"")) != digest:
                raise TraitvecError(
                    f"{self.storage.address}/{name}: {file} is missing or differs from the"
                    f" metadata; delete the archive and run again to recreate {provenance.stage}"
                    f" of {trait.name}"
                )
        for file, content in files.items():
            write_inside(home, f"{trait.name}/{file}", content)

    def put(self, trait: SyncedTrait, provenance: Provenance) -> Provenance:
        """Upload a finished stage: its files, then its metadata.

        Returns:
            The provenance now in the storage: this one, or the equal one of another machine that
            was faster.

        Raises:
            TraitvecError: If another machine has put a different result in the meantime, or the
                storage is unreachable. The stage is kept here then, and the next run uploads it.
        """
        stage = provenance.stage
        file = METADATA_FILE[stage]
        metadata = (trait.path / file).read_bytes()
        record = SyncRecord(trait.path.parent, trait.name, self.storage.address)
        synced = record.files.get(file)
        try:
            if provenance.files:
                self.storage.put(archive_name(trait, provenance), pack_stage(trait, provenance))
            etag = self.storage.put_after(
                f"{trait_prefix(trait)}/{file}", metadata, synced.etag if synced else None
            )
        except OvertakenError:
            return self._use_theirs(trait, provenance)
        except TraitvecError as error:
            raise TraitvecError(
                f"{error}; {stage} of {trait.name} is finished, and the next run here uploads it"
            ) from None
        record.note(file, metadata, etag)
        record.write()
        self._remove_old_archives(trait, provenance)
        return provenance

    def put_unfinished(self, trait: SyncedTrait) -> None:
        """Upload stages that were finished here while the storage was unreachable."""
        record = SyncRecord(trait.path.parent, trait.name, self.storage.address)
        for stage in STAGES[1:]:
            provenance = trait.provenance(stage)
            if provenance is None or not record.is_changed(METADATA_FILE[stage]):
                continue
            if trait.is_here(provenance):
                self.put(trait, provenance)

    def remove(self, trait: SyncedTrait) -> None:
        """Remove a trait from the storage, its definition first."""
        names = self.storage.listing(f"{trait_prefix(trait)}/")
        self.storage.remove(sorted(names, key=lambda name: not name.endswith(DEFINITION_FILE)))

    def _use_theirs(self, trait: SyncedTrait, mine: Provenance) -> Provenance:
        self.refresh(trait_prefix(trait))
        theirs = trait.provenance(mine.stage)
        if theirs is not None and theirs.key == mine.key and theirs.is_complete:
            return theirs
        raise TraitvecError(
            f"{trait.name}: another machine put {mine.stage} into {self.storage.address} in the"
            " meantime, made with other settings or inputs; its version is kept. Do not run the"
            " same trait on two machines at once"
        )

    def _remove_old_archives(self, trait: SyncedTrait, provenance: Provenance) -> None:
        current = archive_name(trait, provenance)
        stem = current.rsplit("-", 1)[0]
        # By the bucket's clock, not this machine's: the newest object that it has listed.
        now = max((row.put_at for row in self._objects.values()), default=None)
        self.storage.remove(
            [
                name
                for name, row in self._objects.items()
                if name.startswith(f"{stem}-")
                and name.endswith(".zip")
                and name != current
                and now is not None
                and now - row.put_at > _ARCHIVE_AGE
            ]
        )


def configured_working_copy(root: Path) -> WorkingCopy | None:
    """Return the working copy for the storage that `TRAITVEC_STORAGE` names, or None without one.

    Raises:
        TraitvecError: If the address is not valid.
    """
    address = os.environ.get(STORAGE_VARIABLE, "").strip()
    return working_copy(root, address) if address else None


@lru_cache(maxsize=8)
def working_copy(root: Path, address: str) -> WorkingCopy:
    """Return the process's working copy for this folder and storage.

    Raises:
        TraitvecError: If the address is not valid.
    """
    return WorkingCopy(root, ObjectStorage(address))
