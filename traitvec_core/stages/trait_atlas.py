"""The atlas: all traits of an experiment compared, as a page and its JSON."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.files import write_atomically
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    from traitvec_core.atlas import Atlas

__all__ = ["ATLAS_VERSION", "make_atlas"]

_FOLDER, _PAGE, _VALUES = "atlas", "atlas.html", "atlas.json"
# Raise it when the arithmetic or the page changes: earlier atlases are then stale.
ATLAS_VERSION = "3"


def make_atlas(folder: ExperimentFolder, settings: ExperimentSettings) -> "tuple[Atlas, bool]":
    """Write `atlas/atlas.html` and `atlas/atlas.json`, unless they already show these results.

    Returns:
        The atlas, and whether it was reused.

    Raises:
        TraitvecError: If the experiment has no trait.
    """
    from traitvec_core.atlas import Atlas, build_atlas
    from traitvec_core.report.atlas_page import build_atlas_page

    page_path, values_path = (folder.path / _FOLDER / name for name in (_PAGE, _VALUES))
    key = _key(folder, settings)
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        before = json.loads(values_path.read_bytes())
        if (before["key"], before["page"]) == (key, content_hash(page_path.read_bytes())):
            return Atlas.model_validate(before["atlas"]), True
    atlas = build_atlas(folder, settings)
    page = build_atlas_page(atlas).encode("utf-8", "replace")
    write_atomically(page_path, page)
    # Written last, because it records the hash of the page.
    values = {"key": key, "page": content_hash(page), "atlas": atlas.model_dump(mode="json")}
    write_atomically(values_path, dump_json(values))
    return atlas, False


def _key(folder: ExperimentFolder, settings: ExperimentSettings) -> str:
    """Return the hash of everything that the atlas is made from."""
    traits = {}
    for name in folder.traits():
        records = [folder.trait(name).provenance(stage) for stage in STAGES]
        traits[name] = [r and [r.content, r.created_at, r.is_complete] for r in records]
        with suppress(TraitvecError):
            traits[name].append([folder.trait(name).definition().content_hash])
    return content_hash(json.dumps([ATLAS_VERSION, settings.model, traits], sort_keys=True))
