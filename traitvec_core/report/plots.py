"""Small pictures as PNG bytes, drawn without a display."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from traitvec_core.validation.elicitation import Elicitation
from traitvec_core.validation.separation import Separation

__all__ = [
    "norms_by_layer",
    "score_distributions",
    "scores_by_instruction",
    "separation_by_layer",
    "separation_heatmap",
]

matplotlib.use("Agg")

# Colours that stay apart for colour-blind readers (Okabe & Ito).
_POSITIVE, _NEGATIVE, _MUTED = "#D55E00", "#0072B2", "#999999"
_METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DPI = 96


def score_distributions(judged: pd.DataFrame, threshold: float) -> bytes:
    """Histograms of the trait score by pole, with the filter's threshold."""

    def draw(axes: Axes) -> None:
        bins = np.linspace(0, 100, 26).tolist()
        for pole, colour, name in (("neg", _NEGATIVE, "negative"), ("pos", _POSITIVE, "positive")):
            scores = judged.loc[judged["pole"] == pole, "trait_score"].dropna()
            axes.hist(
                scores, bins=bins, color=colour, alpha=0.65, label=f"{name} (n = {len(scores)})"
            )
        axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label="threshold")
        axes.set(xlabel="trait score", ylabel="responses", xlim=(0, 100))
        # The heaps stand at the ends when a trait is elicited well.
        axes.legend(frameon=False, fontsize=8, loc="upper center")

    return _picture(draw)


def scores_by_instruction(elicitation: Elicitation) -> bytes:
    """Mean trait score of both poles for each instruction pair."""

    def draw(axes: Axes) -> None:
        rows = elicitation.by_instruction
        places = np.arange(len(rows))
        for offset, key, colour in (
            (-0.2, "mean_negative", _NEGATIVE),
            (0.2, "mean_positive", _POSITIVE),
        ):
            heights = [np.nan if row[key] is None else row[key] for row in rows]
            axes.bar(places + offset, heights, width=0.4, color=colour, label=key[5:])
        axes.set(xlabel="instruction pair", ylabel="mean trait score", ylim=(0, 100))
        axes.set_xticks(places, [str(row["number"]) for row in rows])
        axes.legend(frameon=False, fontsize=8)

    return _picture(draw)


def separation_by_layer(separation: Separation) -> bytes:
    """Held-out AUROC of every method by layer, with the random control and chance."""

    def draw(axes: Axes) -> None:
        colours = iter(_METHOD_COLOURS)
        for method in dict.fromkeys(score.method for score in separation.scores):
            rows = [s for s in separation.scores if s.method == method]
            control = method == "random"
            axes.plot(
                [row.layer for row in rows],
                [row.auroc for row in rows],
                marker="o",
                markersize=3,
                linewidth=1.5,
                linestyle=":" if control else "-",
                color=_MUTED if control else next(colours),
                label="random (control)" if control else method,
            )
        axes.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
        axes.set(xlabel="layer (0 = embeddings)", ylabel="held-out AUROC", ylim=(0, 1.04))
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    return _picture(draw)


def separation_heatmap(separation: Separation) -> bytes:
    """Held-out effect size, method × layer."""
    methods = list(dict.fromkeys(score.method for score in separation.scores))
    layers = sorted({score.layer for score in separation.scores})
    grid = np.full((len(methods), len(layers)), np.nan)
    for score in separation.scores:
        grid[methods.index(score.method), layers.index(score.layer)] = score.effect_size

    def draw(axes: Axes) -> None:
        image = axes.imshow(grid, aspect="auto", cmap="viridis")
        axes.set_yticks(range(len(methods)), methods)
        step = max(1, len(layers) // 14)
        axes.set_xticks(range(0, len(layers), step), [str(layer) for layer in layers[::step]])
        axes.set(xlabel="layer (0 = embeddings)")
        axes.figure.colorbar(image, ax=axes, label="held-out effect size")

    return _picture(draw)


def norms_by_layer(vectors: Sequence[dict[str, Any]], mean_norms: Sequence[float]) -> bytes:
    """Vector norm by layer for every method, with the mean activation norm for scale."""

    def draw(axes: Axes) -> None:
        for method, colour in zip(
            dict.fromkeys(row["method"] for row in vectors), _METHOD_COLOURS, strict=False
        ):
            rows = sorted((r for r in vectors if r["method"] == method), key=lambda r: r["layer"])
            axes.plot(
                [r["layer"] for r in rows], [r["vector_norm"] for r in rows],
                marker="o", markersize=3, color=colour, label=method,
            )  # fmt: skip
        axes.plot(
            range(len(mean_norms)), mean_norms, linestyle=":", color=_MUTED, label="mean activation"
        )
        axes.set(xlabel="layer (0 = embeddings)", ylabel="norm", yscale="log")
        axes.legend(frameon=False, fontsize=8)

    return _picture(draw)


def _picture(draw: Callable[[Axes], None]) -> bytes:
    # The object interface: pyplot's global state is not safe between Dagster's threads.
    figure = Figure(figsize=(5.2, 2.8), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
