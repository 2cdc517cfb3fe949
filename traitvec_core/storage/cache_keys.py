"""What kept results depend on: hashes of stages' records, and of this package's code."""

import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE, Stage
from traitvec_core.storage.file_hashes import hashes_in
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash

__all__ = ["code_version", "hash_of_file", "record_hashes"]

# Libraries that checks and comparisons calculate with, or read files with.
_LIBRARIES = ("numpy", "pandas", "pydantic", "scikit-learn", "scipy", "torch")


def record_hashes(folder: TraitFolder, stages: Iterable[Stage]) -> list[str] | None:
    """Return a hash of each stage's metadata file, which holds the hashes of its other files.

    Returns:
        One per stage, empty for a stage that is not made; None if a file is not as recorded.
    """
    records = []
    for stage in stages:
        record = hash_of_file(folder, METADATA_FILE[stage])
        provenance = folder.provenance(stage)
        if record and (provenance is None or not folder.is_intact(provenance)):
            return None
        records.append(record)
    return records


def hash_of_file(folder: TraitFolder, name: str) -> str:
    """Return the hash of a file of a trait; empty if there is none that can be read."""
    try:
        return hashes_in(folder.path.absolute()).of(name)
    except (OSError, TraitvecError):
        return ""


@cache
def code_version() -> str:
    """Return a hash of this package's code and of the versions of the libraries that it uses."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    parts = [platform.python_version()]
    parts += [f"{path.relative_to(package)} {content_hash(path.read_bytes())}" for path in files]
    for library in _LIBRARIES:
        try:
            parts.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            parts.append(library)
    return content_hash("\n".join(parts))
