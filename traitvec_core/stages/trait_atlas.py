"""The atlas: all traits of an experiment compared, as a page and its JSON."""

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    from traitvec_core.atlas import Atlas

__all__ = ["ATLAS_PAGE", "ATLAS_VALUES", "ATLAS_VERSION", "atlas_problems", "make_atlas"]

ATLAS_PAGE, ATLAS_VALUES = "atlas/atlas.html", "atlas/atlas.json"
AtlasProblem = Literal["missing", "changed", "damaged"]
# Raise it when the arithmetic or the page changes: earlier atlases are then stale.
ATLAS_VERSION = "4"


def make_atlas(folder: ExperimentFolder, settings: ExperimentSettings) -> "tuple[Atlas, bool]":
    """Write `atlas/atlas.html` and `atlas/atlas.json`, unless they already show these results.

    Returns:
        The atlas, and whether it was reused.

    Raises:
        TraitvecError: If the experiment has no trait.
    """
    from traitvec_core.atlas import Atlas, build_atlas
    from traitvec_core.report.atlas_page import build_atlas_page

    key = _key(folder, settings)
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        before = json.loads(folder.read(ATLAS_VALUES))
        if before["key"] == key and not atlas_problems(folder):
            return Atlas.model_validate(before["atlas"]), True
    atlas = build_atlas(folder, settings)
    page = build_atlas_page(atlas).encode("utf-8", "replace")
    folder.write(ATLAS_PAGE, page)
    # Written last, because it records the hashes of both.
    values = json.loads(dump_json(atlas.model_dump(mode="json")))
    record = {
        "key": key, "page": content_hash(page), "values": _values_hash(values), "atlas": values
    }  # fmt: skip
    folder.write(ATLAS_VALUES, dump_json(record))
    return atlas, False


def atlas_problems(folder: ExperimentFolder) -> dict[str, AtlasProblem]:
    """Return what is wrong with the atlas' files, by name.

    Empty if there is no atlas.
    """
    paths = {name: folder.path / name for name in (ATLAS_PAGE, ATLAS_VALUES)}
    absent = [name for name, path in paths.items() if not os.path.lexists(path)]
    if absent:
        return {} if len(absent) == len(paths) else dict.fromkeys(absent, "missing")
    problems: dict[str, AtlasProblem] = {}
    try:
        record = json.loads(folder.read(ATLAS_VALUES))
        page, values, atlas = record["page"], record["values"], record["atlas"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, TraitvecError):
        return {ATLAS_VALUES: "damaged"}
    if values != _values_hash(atlas):
        problems[ATLAS_VALUES] = "changed"
    try:
        is_same = content_hash(folder.read(ATLAS_PAGE)) == page
    except (OSError, TraitvecError):
        problems[ATLAS_PAGE] = "damaged"
    else:
        if not is_same:
            problems[ATLAS_PAGE] = "changed"
    return problems


def _values_hash(values: Any) -> str:
    return content_hash(json.dumps(values, sort_keys=True))


def _key(folder: ExperimentFolder, settings: ExperimentSettings) -> str:
    """Return the hash of everything that the atlas is made from."""
    traits = {}
    for name in folder.traits():
        records = [folder.trait(name).provenance(stage) for stage in STAGES]
        traits[name] = [r and [r.content, r.created_at, r.is_complete] for r in records]
        with suppress(TraitvecError):
            traits[name].append([folder.trait(name).definition().content_hash])
    return content_hash(json.dumps([ATLAS_VERSION, settings.model, traits], sort_keys=True))
