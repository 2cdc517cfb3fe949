"""A stage's metadata file: what the stage measured, and the provenance as its last key."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.provenance import Provenance, content_hash

__all__ = ["data_version", "dump_record", "parse_provenance", "values_hash"]

_PROVENANCE = "provenance"


def dump_record(metadata: Mapping[str, Any], provenance: Provenance) -> tuple[Provenance, bytes]:
    """Return the provenance completed by the hash of the metadata, and the file with both."""
    digest = values_hash(dump_json(metadata))
    done = provenance.model_copy(update={"metadata": digest})
    return done, dump_json({**metadata, _PROVENANCE: done.model_dump(mode="json")})


# A trait's stages read each other's records many times, and a record of vectors is long.
@lru_cache(maxsize=32)
def parse_provenance(record: bytes) -> Provenance:
    """Return the provenance in a metadata file.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: If there is none that can be read.
    """
    return Provenance.model_validate(json.loads(record)[_PROVENANCE])


def values_hash(record: bytes) -> str:
    """Return the hash of everything in a JSON object but its provenance, however it is laid out.

    Raises:
        ValueError: If it is no JSON object.
    """
    try:
        values = json.loads(record)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("is no JSON object")
    values.pop(_PROVENANCE, None)
    return content_hash(json.dumps(values, sort_keys=True, separators=(",", ":")))


def data_version(digests: Mapping[str, str]) -> str | None:
    """Return the hash over the files that hold results; None if there are none.

    Args:
        digests: The content hash of each file of a stage, by name.
    """
    # Sidecars and pages contain dates; equal results must have equal data versions.
    dateless = {
        name: digest
        for name, digest in digests.items()
        if not name.endswith(("_metadata.json", ".html"))
    }
    return content_hash(json.dumps(dateless, sort_keys=True)) if dateless else None
