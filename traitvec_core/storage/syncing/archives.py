"""One stage's files as a single archive in the bucket."""

import io
import json
import zipfile
from pathlib import Path
from typing import Protocol

from traitvec_core.stage_names import METADATA_FILE, Stage
from traitvec_core.storage.provenance import Provenance, content_hash

__all__ = ["SyncedTrait", "archive_name", "pack_stage", "trait_prefix", "unpack_stage"]

# With their real dates, archives of equal files would differ.
_DATE = (1980, 1, 1, 0, 0, 0)


class SyncedTrait(Protocol):
    """What syncing needs from a `TraitFolder`, which itself syncs through this package."""

    name: str
    experiment: str
    path: Path

    def provenance(self, stage: Stage) -> Provenance | None:
        """The recorded provenance of a stage."""
        ...

    def is_here(self, provenance: Provenance) -> bool:
        """Whether every recorded file is in the folder."""
        ...


def archive_name(trait: SyncedTrait, provenance: Provenance) -> str:
    """Name of the object with a stage's files. It contains their hash, so it never changes."""
    folder = METADATA_FILE[provenance.stage].partition("/")[0]
    digest = content_hash(json.dumps(provenance.files, sort_keys=True))[:32]
    return f"{trait_prefix(trait)}/{folder}/{provenance.stage}-{digest}.zip"


def pack_stage(trait: SyncedTrait, provenance: Provenance) -> bytes:
    """Return a stage's files as an uncompressed zip archive: tensors do not compress."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(provenance.files):
            archive.writestr(zipfile.ZipInfo(file, _DATE), (trait.path / file).read_bytes())
    return buffer.getvalue()


def unpack_stage(data: bytes, provenance: Provenance) -> dict[str, bytes]:
    """Return the recorded files of an archive by path; none if it is damaged or incomplete.

    The caller checks paths and hashes: anyone who can write to the bucket may have written either.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {file: archive.read(file) for file in provenance.files}
    except (zipfile.BadZipFile, KeyError, ValueError, OSError):
        return {}


def trait_prefix(trait: SyncedTrait) -> str:
    """Start of the names of a trait's objects, without the slash that follows."""
    return f"{trait.experiment}/{trait.name}"
