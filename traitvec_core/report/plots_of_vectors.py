"""Pictures of what vectors separate: heat maps, effect sizes beside chance, projections."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from traitvec_core.report import plots
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.separation import Separation

__all__ = ["effect_size_by_layer", "held_out_projections", "separation_heatmaps"]


def effect_size_by_layer(separation: Separation, chance: Chance | None) -> bytes:
    """Draw held-out effect sizes by layer and method, with the band of random directions."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if chance is not None and chance.random:
            axes.fill_between(
                [score.layer for score in chance.random],
                [score.effect_size_median for score in chance.random],
                [score.effect_size_high for score in chance.random],
                color=plots.MUTED, alpha=0.3, linewidth=0,
                label="random directions (median to 95%)",
            )  # fmt: skip
            if chance.random_effect_size is not None:
                axes.axhline(chance.random_effect_size, color="black", linewidth=1,
                             linestyle="--", label="95% of their best")  # fmt: skip
        plots.draw_by_layer(axes, separation, "effect_size")
        axes.set(xlabel="layer (0 = embeddings)", ylabel="held-out effect size")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        plots.legend_below(figure, axes, columns=3)

    return plots._picture(draw)


def separation_heatmaps(separations: Mapping[str, Separation]) -> bytes:
    """Draw held-out AUROC and effect size, method × layer, one row per way to hold out."""
    shown = {name: separation for name, separation in separations.items() if separation.scores}

    def draw(figure: Figure) -> None:
        width, height = plots.WIDE
        figure.set_size_inches(width, height * max(1.0, len(shown) * 0.62))
        grid = figure.subplots(len(shown), 2, squeeze=False, sharex=True)
        tables = {name: _tables(separation) for name, separation in shown.items()}
        most = max(np.nanmax(sizes, initial=0.0) for _, sizes, _, _ in tables.values())
        for row, (name, (aurocs, sizes, methods, layers)) in zip(grid, tables.items(), strict=True):
            for axes, table, label, low, high in (
                (row[0], aurocs, "AUROC", 0.5, 1.0),
                (row[1], sizes, "effect size", 0.0, most),
            ):
                image = axes.imshow(table, aspect="auto", cmap="Blues", vmin=low, vmax=high)
                axes.set_yticks(range(len(methods)), methods)
                axes.set_title(f"{label}, {name}", fontsize=9)
                plots.mark_some(axes, layers)
                figure.colorbar(image, ax=axes)
        for axes in grid[-1]:
            axes.set_xlabel("layer (0 = embeddings)")

    return plots._picture(draw)


def held_out_projections(
    margins: Sequence[float | None], is_positive: Sequence[bool], questions: Sequence[int]
) -> bytes:
    """Draw held-out responses along a vector: as a histogram, and question by question.

    Args:
        margins: Distance of each response to the threshold; None where nothing was held out.
        is_positive: Whether each response is positive.
        questions: The number of the question that each response answers.
    """
    values = np.array(margins, dtype=float)
    poles = np.array(is_positive, dtype=bool)

    def draw(figure: Figure) -> None:
        width, height = plots.WIDE
        figure.set_size_inches(width, height * 1.25)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        known = values[np.isfinite(values)]
        bins = np.linspace(known.min(), known.max(), 40) if len(known) else 1
        for chosen, colour, name, offset in (
            (~poles, plots.NEGATIVE, "negative", -0.15),
            (poles, plots.POSITIVE, "positive", 0.15),
        ):
            own = values[chosen]
            top.hist(own[np.isfinite(own)], bins=bins, color=colour, alpha=0.65, label=name)
            below.scatter(own, np.array(questions)[chosen] + offset, s=12, color=colour,
                          alpha=0.7, linewidths=0)  # fmt: skip
        for axes in (top, below):
            axes.axvline(0, color="black", linewidth=1, linestyle="--")
        top.set(ylabel="responses")
        plots.legend_below(figure, top)
        below.set(ylabel="question", xlabel="projection, from the threshold (activation units)")
        below.invert_yaxis()

    return plots._picture(draw)


def _tables(
    separation: Separation,
) -> tuple[np.ndarray, np.ndarray, list[str], list[int]]:
    methods = list(dict.fromkeys(score.method for score in separation.scores))
    layers = sorted({score.layer for score in separation.scores})
    aurocs, sizes = np.full((2, len(methods), len(layers)), np.nan)
    for score in separation.scores:
        place = methods.index(score.method), layers.index(score.layer)
        # None becomes NaN, an empty cell.
        aurocs[place], sizes[place] = score.auroc.value, score.effect_size.value
    return aurocs, sizes, [str(method) for method in methods], layers
