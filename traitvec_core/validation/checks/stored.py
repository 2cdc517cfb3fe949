"""Verdicts of checks, kept beside the trait until anything that determines them changes."""

from collections.abc import Sequence

from pydantic import ValidationError

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import CheckName, ExperimentSettings
from traitvec_core.stage_names import METADATA_FILE
from traitvec_core.storage.cache_keys import code_version, hash_of_file, record_hashes
from traitvec_core.storage.files import DEFINITION_FILE, HUMAN_SCORES_FILE, display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.second_elicitation import second_contents
from traitvec_core.storage.trait_cache import read_cache, write_cache
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.table import conclude_check, evaluate_check

__all__ = ["stored_checks"]

_CACHE = "checks"


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
    records = record_hashes(folder, METADATA_FILE)
    if records is None:
        return None
    parts = [
        code_version(),
        # Summaries name files as seen from the working directory.
        display_path(folder.path),
        settings.model_dump_json(),
        hash_of_file(folder, DEFINITION_FILE),
        hash_of_file(folder, HUMAN_SCORES_FILE),
        repr(second_contents(folder, settings)),
        *records,
    ]
    return content_hash("\n".join(parts))


def _read(folder: TraitFolder, key: str | None) -> dict[CheckName, CheckResult]:
    cached = read_cache(folder.path, _CACHE)
    if key is None or not isinstance(cached, dict) or cached.get("key") != key:
        return {}
    try:
        return {name: CheckResult.model_validate(row) for name, row in cached["results"].items()}
    except (AttributeError, KeyError, ValidationError):
        return {}
