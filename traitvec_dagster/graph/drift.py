"""How far a trait has moved since its last materialization."""

from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder

__all__ = ["drift_metadata"]


def drift_metadata(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, Any]:
    """What Dagster shows of vectors that were just made in place of others; empty for the first.

    `drift_cosine` is that of the recommended vector with the last one of its method and layer,
    `drift_contrast` the contrast minus the last report's. Call it before the report is made again.

    Args:
        folder: The trait's folder.
        settings: The settings that the vectors were made with.
    """
    from traitvec_core.validation.elicitation import summarise_responses

    try:
        before = folder.metadata("validation_report")
    except (TraitvecError, ValueError):
        return {}
    now = folder.metadata("vectors")
    best, last = now["recommended"], before.get("recommended")
    cosine = _cosine(now, best)
    found = summarise_responses(
        folder.read_responses(), settings.threshold, settings.min_coherence
    ).contrast
    old = before.get("elicitation", {}).get("contrast")
    change = found - old if found is not None and old is not None else None
    figures = {"drift_cosine": cosine, "drift_contrast": change}
    rows = [
        {"what": "contrast", "last": _shown(old, ".1f"), "now": _shown(found, ".1f"),
         "drift": _shown(change, "+.1f")},
        {"what": "recommended", "last": _named(last), "now": _named(best),
         "drift": f"cosine {_shown(cosine, '.3f')}"},
    ]  # fmt: skip
    return {
        **{name: round(value, 4) for name, value in figures.items() if value is not None},
        "drift": dg.MetadataValue.table([dg.TableRecord(row) for row in rows]),
    }


def _cosine(manifest: dict[str, Any], best: dict[str, Any] | None) -> float | None:
    """The cosine of the recommended vector with what lay in its place."""
    if best is None:
        return None
    for found in manifest.get("previous_cosines", ()):
        if (found["method"], found["layer"]) == (best["method"], best["layer"]):
            return float(found["cosine"])
    return None


def _named(vector: dict[str, Any] | None) -> str:
    return f"{vector['method']} at layer {vector['layer']}" if vector else "none"


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
