"""The comparison of two elicitations, kept beside the trait for all that read it.

The check `confounds` and the report read the same comparison. What is kept counts only under the
key of everything that it was computed from.
"""

from pydantic import BaseModel, ValidationError

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.cache_keys import code_version, record_hashes
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.second_elicitation import COMPARED_STAGES
from traitvec_core.storage.trait_cache import read_cache, write_cache
from traitvec_core.validation.second_opinion import SecondOpinion

__all__ = ["comparison_key", "read_opinion", "write_opinion"]

_CACHE = "second_opinion"


class _Stored(BaseModel):
    key: str
    opinion: SecondOpinion


def comparison_key(
    folder: TraitFolder, second: TraitFolder, settings: ExperimentSettings
) -> str | None:
    """Return the hash of all that a comparison is computed from.

    Returns:
        None while a file of either side is not as recorded, and with an objective of the user's,
        whose code is in no hash.
    """
    records = [record_hashes(each, COMPARED_STAGES) for each in (folder, second)]
    if settings.gradient_objective is not None or None in records:
        return None
    names = [f"{each.experiment}/{each.name}" for each in (folder, second)]
    return content_hash(repr([code_version(), settings.model_dump_json(), names, records]))


def read_opinion(folder: TraitFolder, key: str | None) -> SecondOpinion | None:
    """Return the comparison that is kept under a key; None if there is none, or it was edited."""
    try:
        stored = _Stored.model_validate(read_cache(folder.path, _CACHE))
    except ValidationError:
        return None
    return stored.opinion if stored.key == key else None


def write_opinion(folder: TraitFolder, key: str, opinion: SecondOpinion) -> None:
    """Keep a comparison in place of an earlier one."""
    row = _Stored(key=key, opinion=opinion).model_dump(mode="json")
    # What JSON cannot hold is computed each time.
    if _Stored.model_validate(row).opinion == opinion:
        write_cache(folder.path, _CACHE, row)
