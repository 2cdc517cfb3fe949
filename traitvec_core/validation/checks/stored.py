"""Verdicts of checks, kept beside the trait until anything that determines them changes."""

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import CheckName, ExperimentSettings
from traitvec_core.stage_names import METADATA_FILE, STAGES
from traitvec_core.storage.file_hashes import hashes_in
from traitvec_core.storage.files import DEFINITION_FILE, HUMAN_SCORES_FILE, display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.second_elicitation import second_contents
from traitvec_core.storage.trait_cache import read_cache, write_cache
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.table import conclude_check, evaluate_check

__all__ = ["stored_checks"]

_CACHE = "checks"
# Libraries that the checks calculate with, or read files with.
_LIBRARIES = ("numpy", "pandas", "pydantic", "scikit-learn", "scipy", "torch")


def stored_checks(
    names: Sequence[CheckName], folder: TraitFolder, settings: ExperimentSettings
) -> dict[CheckName, CheckResult]:
    """Return what `evaluate_check` returns for each check; evaluates only what is not stored.

    A stored result counts only under the key of everything that determines it: the settings, the
    definition, human scores, every stage's record, which holds the hashes of its files, what a
    second elicitation has, and the code. Nothing is stored of a check that could not read its
    files, nor while files differ from their records.

    Args:
        names: The checks.
        folder: The trait's folder.
        settings: The experiment's settings.
    """
    key = _key(folder, settings)
    stored = _read(folder, key)
    results: dict[CheckName, CheckResult] = {}
    new: dict[CheckName, CheckResult] = {}
    for name in names:
        if name in stored:
            results[name] = stored[name]
            continue
        try:
            results[name] = new[name] = conclude_check(name, folder, settings)
        except TraitvecError:
            results[name] = evaluate_check(name, folder, settings)
    # A run may have ended meanwhile: what was read then belongs to no key.
    if new and key is not None and _key(folder, settings) == key:
        both = {**stored, **new}
        rows = {name: result.model_dump(mode="json") for name, result in both.items()}
        if all(CheckResult.model_validate(rows[name]) == result for name, result in both.items()):
            write_cache(folder.path, _CACHE, {"key": key, "results": rows})
    return results


def _key(folder: TraitFolder, settings: ExperimentSettings) -> str | None:
    """Return the hash of what the checks depend on; None if a file is not as recorded."""
    parts = [
        _code_version(),
        # Summaries name files as seen from the working directory.
        display_path(folder.path),
        settings.model_dump_json(),
        _hash_of(folder, DEFINITION_FILE),
        _hash_of(folder, HUMAN_SCORES_FILE),
        repr(second_contents(folder, settings)),
    ]
    for stage in STAGES:
        if stage not in METADATA_FILE:
            continue
        record = _hash_of(folder, METADATA_FILE[stage])
        provenance = folder.provenance(stage)
        if record and (provenance is None or not folder.is_intact(provenance)):
            return None
        parts.append(record)
    return content_hash("\n".join(parts))


def _hash_of(folder: TraitFolder, name: str) -> str:
    try:
        return hashes_in(folder.path.absolute()).of(name)
    except (OSError, TraitvecError):
        return ""


def _read(folder: TraitFolder, key: str | None) -> dict[CheckName, CheckResult]:
    cached = read_cache(folder.path, _CACHE)
    if key is None or not isinstance(cached, dict) or cached.get("key") != key:
        return {}
    try:
        return {name: CheckResult.model_validate(row) for name, row in cached["results"].items()}
    except (AttributeError, KeyError, ValidationError):
        return {}


@cache
def _code_version() -> str:
    """Return a hash of this package's code and of the versions of the libraries that it uses."""
    package = Path(__file__).parents[2]
    files = sorted(package.rglob("*.py"))
    parts = [platform.python_version()]
    parts += [f"{path.relative_to(package)} {content_hash(path.read_bytes())}" for path in files]
    for library in _LIBRARIES:
        try:
            parts.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            parts.append(library)
    return content_hash("\n".join(parts))
