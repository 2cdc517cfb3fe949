"""The figures that decide, as tables that Dagster's pages show without a click.

Those pages show tables and texts at once, Markdown only up to 1,000 characters and on the asset's
own pages; longer Markdown, such as any picture inside it, opens in a dialog.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from traitvec_core.estimate import Estimate
from traitvec_dagster.graph.metadata_values import Metadata, rounded, table

if TYPE_CHECKING:
    from traitvec_core.validation.key_figure import KeyFigure
    from traitvec_core.validation.manifests import VectorRow, VectorsManifest
    from traitvec_core.validation.separation import SeparationScore

__all__ = ["report_figures", "vector_figures", "vectors_at_a_glance"]

_BARS = "▁▂▃▄▅▆▇█"
_NOT_MEASURED = "·"
_MOST_BARS = 32
# Shorter Markdown Dagster shows on the page.
_OPENS_IN_DIALOG = 1000
_OF_VECTOR = (
    "method", "layer", "vector_norm", "chance_norm", "relative_norm", "train_accuracy",
    "held_out_accuracy", "held_out_auroc", "held_out_effect_size",
)  # fmt: skip


def report_figures(figures: "Sequence[KeyFigure]") -> Any:
    """Return the report's figures, with intervals, and why one is missing."""
    return table(
        [
            {
                "figure": figure.label,
                "value": f"{figure.value_text} {figure.interval_text}".rstrip(),
                "note": figure.missing or figure.beside or "–",
            }
            for figure in figures
        ]
    )


def vectors_at_a_glance(manifest: "VectorsManifest") -> Metadata:
    """Return the recommended vector's figures, and each method's over the layers."""
    separation, best = manifest.separation, manifest.recommended_row
    winner = separation.winner
    rows = [("accuracy of a probe on unseen data", separation.probe_accuracy, ".3f")]
    if winner is not None:
        rows += [("AUROC, corrected for choosing the best", winner.auroc, ".3f")]
        rows += [("effect size, corrected likewise", winner.effect_size, ".2f")]
    if best is not None and best.chance_norm:
        over_chance = Estimate(value=best.vector_norm / best.chance_norm)
        rows += [("norm, times that under swapped labels", over_chance, ".1f")]
    explanations = manifest.evidence.explanations if manifest.evidence else None
    for share in explanations.shares if explanations is not None else ():
        rows += [(f"share of the separation: {share.name}", share.share_of_separation, ".0%")]
    return {
        "key_figures": table(
            [{"figure": label, "value": value.format(spec)} for label, value, spec in rows]
        ),
        "by_method": table(_by_method(separation.scores)),
    }


def vector_figures(vectors: "Iterable[VectorRow]") -> Any:
    """Return a row per vector as Markdown, which opens in a dialog.

    On the page it may be a hundred rows, and so wide that all other values are cut off.
    """
    rows = [[rounded(getattr(vector, name)) for name in _OF_VECTOR] for vector in vectors]
    lines = [_OF_VECTOR, ["---"] * len(_OF_VECTOR), *rows]
    text = "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)
    return dg.MetadataValue.md(text.ljust(_OPENS_IN_DIALOG, "\n"))


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def _by_method(scores: "Sequence[SeparationScore]") -> list[dict[str, str]]:
    """For each method its best layer, and the AUROC as bars over the layers."""
    of_method: dict[str, list[SeparationScore]] = {}
    for score in sorted(scores, key=lambda score: score.layer):
        # Layer 0 is a control, and no layer of a vector.
        if score.layer:
            of_method.setdefault(score.method, []).append(score)
    rows = []
    for method, row in of_method.items():
        measured = [score for score in row if score.auroc.value is not None]
        best = max(measured, key=lambda score: score.auroc.value or 0.0, default=None)
        rows.append(
            {
                "method": f"{method} (control)" if method == "random" else method,
                # Few columns: all values of the page are as wide as the widest table.
                "best AUROC": f"{best.auroc.value:.3f}, layer {best.layer}" if best else "–",
                "layers": f"{row[0].layer}–{row[-1].layer}",
                "AUROC by layer (▁ 0.5, █ 1)": _bars([score.auroc.value for score in row]),
            }
        )
    return rows


def _bars(values: "Sequence[float | None]") -> str:
    """Draw values from 0.5 to 1 as bars; of very many, the highest of each few."""
    n_each = -(-len(values) // _MOST_BARS)
    groups = [values[start : start + n_each] for start in range(0, len(values), n_each)]
    highest = [max((v for v in group if v is not None), default=None) for group in groups]
    return "".join(_NOT_MEASURED if value is None else _bar(value) for value in highest)


def _bar(value: float) -> str:
    step = round((value - 0.5) / 0.5 * (len(_BARS) - 1))
    return _BARS[min(max(step, 0), len(_BARS) - 1)]
