"""Small JSON files in a trait's `.cache` folder: what was computed once and still holds.

A cache only saves time. It may be deleted at any time, and a damaged or edited file is ignored.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.tree import read_inside, write_inside

__all__ = ["read_cache", "write_cache"]

_FOLDER = ".cache"


def read_cache(trait: Path, name: str) -> Any:
    """Return what `write_cache` has written; None if there is nothing, or it was changed.

    Args:
        trait: The trait's folder.
        name: The cache's name.
    """
    try:
        stored = json.loads(read_inside(trait.parent, _path(trait, name)))
        return stored["value"] if stored["digest"] == _digest(stored["value"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, TraitvecError):
        return None


def write_cache(trait: Path, name: str, value: Any) -> None:
    """Store a value that JSON can hold; no-op where the folder cannot be written.

    Args:
        trait: The trait's folder.
        name: The cache's name.
        value: The value.
    """
    # A trait that was just removed must stay so.
    if not trait.is_dir():
        return
    text = json.dumps({"digest": _digest(value), "value": value}, separators=(",", ":"))
    with suppress(OSError, TraitvecError):
        write_inside(trait.parent, _path(trait, name), text.encode())


def _path(trait: Path, name: str) -> str:
    return f"{trait.name}/{_FOLDER}/{name}.json"


def _digest(value: Any) -> str:
    return content_hash(json.dumps(value, sort_keys=True))
