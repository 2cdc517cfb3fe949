"""The page that lists experiments with their atlases, and traits with their verdicts."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.report.verdict_badge import vector_text, verdict_badge
from traitvec_core.storage.files import list_experiments
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_dagster.ui.addresses import ATLAS_PAGE, DYNAMICS_PAGE, PREFIX, REPORT_PAGE
from traitvec_dagster.ui.page_frame import frame_page, render

if TYPE_CHECKING:
    from traitvec_core.storage.manifests import VectorVerdict

__all__ = ["build_index"]

_STYLES: "dict[VectorVerdict | None, str]" = {
    "usable": "pass", "with_care": "warn", "not_usable": "fail", None: "quiet"
}  # fmt: skip


def build_index(experiments: Path) -> bytes:
    """Return the page.

    Args:
        experiments: The folder of all experiments.
    """
    body = render(
        "index",
        experiments=[
            _experiment(ExperimentFolder(experiments, name))
            for name in list_experiments(experiments)
        ],
        atlas=ATLAS_PAGE,
        report=REPORT_PAGE,
        dynamics=DYNAMICS_PAGE,
    )
    return frame_page("Reports", body)


def _experiment(folder: ExperimentFolder) -> dict[str, Any]:
    traits = [_trait(folder.trait(name)) for name in folder.traits()]
    return {
        "name": folder.name,
        "url": f"{PREFIX}/experiments/{folder.name}",
        "has_atlas": os.path.lexists(folder.path / ATLAS_PAGE),
        "traits": traits,
        "verdicts": Counter(trait["badge"] for trait in traits).most_common(),
    }


def _trait(folder: TraitFolder) -> dict[str, Any]:
    badge, vector, style = "No vectors yet", "", "quiet"
    try:
        recommended = folder.recommended()
        badge = verdict_badge(recommended)
        if recommended is not None:
            vector, style = vector_text(recommended), _STYLES[recommended.verdict]
    except TraitvecError:
        # Not made yet, or not readable: the stage's own run says so.
        pass
    return {
        "name": folder.name,
        "badge": badge,
        "style": style,
        "vector": vector,
        "has_report": folder.provenance("validation_report") is not None,
        "has_dynamics": os.path.lexists(folder.path / DYNAMICS_PAGE),
    }
