"""How far a trait has moved since its last materialization."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder

if TYPE_CHECKING:
    from traitvec_core.storage.manifests import Recommendation
    from traitvec_core.validation.separation import VectorCosine

__all__ = ["drift_metadata"]


def drift_metadata(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, Any]:
    """Return Dagster metadata that compares new vectors with those of the last report.

    `drift_cosine` is the cosine of the recommended vector with the last one of its method and
    layer, `drift_contrast` the contrast minus the last report's. Empty for a first run, or after a
    report of another version. Call it before the report is made again.

    Args:
        folder: The trait's folder.
        settings: The settings that the vectors were made with.
    """
    from traitvec_core.validation.elicitation import summarise_responses
    from traitvec_core.validation.manifests import VectorsManifest
    from traitvec_core.validation.report_manifest import ReportManifest

    try:
        before = folder.manifest(ReportManifest)
    except TraitvecError:
        return {}
    now = folder.manifest(VectorsManifest)
    cosine = _cosine(now.recommended, now.previous_cosines)
    elicited = summarise_responses(folder.read_responses(), settings.response_filter)
    new, old = elicited.contrast.value, before.elicitation.contrast.value
    change = new - old if new is not None and old is not None else None
    figures = {"drift_cosine": cosine, "drift_contrast": change}
    rows = [
        {"what": "contrast", "last": _formatted(old, ".1f"), "now": _formatted(new, ".1f"),
         "drift": _formatted(change, "+.1f")},
        {"what": "recommended", "last": _named(before.recommended), "now": _named(now.recommended),
         "drift": f"cosine {_formatted(cosine, '.3f')}"},
    ]  # fmt: skip
    return {
        **{name: round(value, 4) for name, value in figures.items() if value is not None},
        "drift": dg.MetadataValue.table([dg.TableRecord(row) for row in rows]),
    }


def _cosine(
    recommended: "Recommendation | None", previous: "Sequence[VectorCosine]"
) -> float | None:
    """The cosine of the recommended vector with the one that it replaced."""
    if recommended is None:
        return None
    return next((p.cosine for p in previous if (p.method, p.layer) == recommended.place), None)


def _named(vector: "Recommendation | None") -> str:
    return f"{vector.method} at layer {vector.layer}" if vector else "none"


def _formatted(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)
