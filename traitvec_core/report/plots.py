"""Pictures as PNG bytes, drawn without a display: those that Dagster shows too, and shared parts.

In all of them white is nothing and strong colour is much, so that a dark page can invert them
without inverting their meaning.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from traitvec_core.elicited_by import in_words_of
from traitvec_core.estimate import Estimate
from traitvec_core.validation.elicitation import Elicitation
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.manifests import VectorRow
from traitvec_core.validation.separation import Separation

__all__ = [
    "contrast_by_cell",
    "norms_by_layer",
    "score_distributions",
    "scores_by_instruction",
    "separation_by_layer",
]

matplotlib.use("Agg")

# Colours that stay apart for colour-blind readers (Okabe & Ito).
POSITIVE, NEGATIVE, MUTED = "#D55E00", "#0072B2", "#777777"
METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DPI = 150
_PALETTE = 96
WIDE = (10.6, 3.4)


def score_distributions(judged: pd.DataFrame, threshold: float, score: str = "trait") -> bytes:
    """Draw histograms of a score by pole, with the filter's threshold.

    Args:
        judged: Judged responses of both poles.
        threshold: The threshold to mark.
        score: `trait` or `coherence`.
    """

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        bins = np.linspace(0, 100, 26).tolist()
        for pole, colour, name in (("neg", NEGATIVE, "negative"), ("pos", POSITIVE, "positive")):
            scores = judged.loc[judged["pole"] == pole, f"{score}_score"].dropna()
            axes.hist(
                scores, bins=bins, color=colour, alpha=0.65, label=f"{name} (n = {len(scores)})"
            )
        axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label="threshold")
        axes.set(xlabel=f"{score} score", ylabel="responses", xlim=(0, 100))
        legend_below(figure, axes, columns=3)

    return _picture(draw)


def scores_by_instruction(elicitation: Elicitation) -> bytes:
    """Draw the mean trait score of both poles for each instruction pair."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        rows = elicitation.by_instruction
        places = np.arange(len(rows))
        for offset, key, colour in (
            (-0.2, "mean_negative", NEGATIVE),
            (0.2, "mean_positive", POSITIVE),
        ):
            heights = [np.nan if row[key] is None else row[key] for row in rows]
            axes.bar(places + offset, heights, width=0.4, color=colour, label=key[5:])
        axes.set(xlabel=_pair(elicitation), ylabel="mean trait score", ylim=(0, 100))
        mark_some(axes, [row["number"] for row in rows])
        legend_below(figure, axes)

    return _picture(draw)


def contrast_by_cell(elicitation: Elicitation) -> bytes:
    """Draw the contrast of each instruction pair on each question; an undefined cell is crossed."""
    grid = np.array(elicitation.by_cell, dtype=float)

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        # White is no contrast; a pair with the opposite effect has the negative pole's colour.
        colours = LinearSegmentedColormap.from_list("poles", [NEGATIVE, "white", POSITIVE])
        image = axes.imshow(grid, aspect="auto", cmap=colours, vmin=-100, vmax=100)
        for row, column in np.argwhere(np.isnan(grid)):
            axes.plot(column, row, marker="x", markersize=4, color="black")
        mark_some(axes, [row["number"] for row in elicitation.by_question])
        axes.set_yticks(range(len(grid)), [str(r["number"]) for r in elicitation.by_instruction])
        axes.set(xlabel="question", ylabel=_pair(elicitation))
        figure.colorbar(image, ax=axes, label="contrast")

    return _picture(draw)


def _pair(elicitation: Elicitation) -> str:
    return in_words_of(elicitation.elicited_by, "instruction pair")


def separation_by_layer(separation: Separation, explanations: Explanations | None = None) -> bytes:
    """Draw held-out AUROC by layer and method, with intervals, control, chance and baselines."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        draw_by_layer(axes, separation, "auroc")
        axes.axhline(0.5, color="black", linewidth=0.8, linestyle="--", label="chance")
        for baseline, style in zip(
            explanations.baselines if explanations else (), ("-.", (0, (1, 1)), (0, (5, 3)), "--"),
            strict=False,
        ):  # fmt: skip
            if baseline.auroc.value is not None:
                axes.axhline(baseline.auroc.value, color="black", linewidth=1, linestyle=style,
                             alpha=0.6, label=f"{baseline.name} alone")  # fmt: skip
        aurocs = [score.auroc.value for score in separation.scores]
        least = min((auroc for auroc in aurocs if auroc is not None), default=0.5)
        axes.set(xlabel="layer (0 = embeddings)", ylabel="held-out AUROC",
                 ylim=(min(0.4, least - 0.05), 1.03))  # fmt: skip
        legend_below(figure, axes)

    return _picture(draw)


def norms_by_layer(vectors: Sequence[VectorRow], mean_norms: Sequence[float]) -> bytes:
    """Draw vector norms by layer and method, with the mean activation norm for scale."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        for method, colour in coloured(row.method for row in vectors):
            rows = sorted((r for r in vectors if r.method == method), key=lambda r: r.layer)
            axes.plot(
                [r.layer for r in rows], [r.vector_norm for r in rows],
                marker="o", markersize=3, color=colour, label=method,
            )  # fmt: skip
        axes.plot(
            range(len(mean_norms)), mean_norms, linestyle=":", color=MUTED, label="mean activation"
        )
        axes.set(xlabel="layer (0 = embeddings)", ylabel="norm", yscale="log")
        legend_below(figure, axes)

    return _picture(draw)


def draw_by_layer(axes: Axes, separation: Separation, figure_name: str) -> None:
    """Draw one held-out figure of every method by layer, with its interval as a band."""
    for method, colour in coloured(score.method for score in separation.scores):
        rows = [s for s in separation.scores if s.method == method]
        layers = [row.layer for row in rows]
        is_control = method == "random"
        estimates: list[Estimate] = [getattr(row, figure_name) for row in rows]
        value, low, high = np.array(
            [(each.value, each.low, each.high) for each in estimates], dtype=float
        ).T
        if not is_control:
            axes.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            layers, value,
            marker="o", markersize=3, linewidth=1.5, linestyle=":" if is_control else "-",
            color=colour, label="random (control)" if is_control else method,
        )  # fmt: skip


def coloured(methods: Iterable[str]) -> list[tuple[str, str]]:
    """Return each method once with its own colour; the control is grey."""
    colours = iter(METHOD_COLOURS)
    return [
        (method, MUTED if method == "random" else next(colours, "#000000"))
        for method in dict.fromkeys(methods)
    ]


def legend_below(figure: Figure, axes: Axes, columns: int = 4, fontsize: float = 7.5) -> None:
    """Put the legend under the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False,
                  fontsize=fontsize, columnspacing=1.2)  # fmt: skip


def mark_some(axes: Axes, names: Sequence[Any], most: int = 14) -> None:
    """Label places along the x axis, at most about `most` of them."""
    step = -(-len(names) // most) or 1
    axes.set_xticks(range(0, len(names), step), [str(name) for name in names[::step]])


def _axes(figure: Figure) -> Axes:
    axes: Axes = figure.subplots()
    return axes


def _picture(draw: Callable[[Figure], None]) -> bytes:
    from PIL import Image

    # The object interface: pyplot's global state is not safe between Dagster's threads.
    figure = Figure(figsize=(5.2, 3.0), dpi=_DPI, layout="constrained")
    draw(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="rgba")
    # A palette makes it a third of the size: a page has a dozen, and Dagster's log takes 50 KB.
    size = figure.canvas.get_width_height()
    flat = Image.frombytes("RGBA", size, drawn.getvalue()).convert("RGB")
    flat.quantize(_PALETTE, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
