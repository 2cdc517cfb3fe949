"""Pictures of what vectors separate: heat maps, effect sizes beside chance, projections."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from traitvec_core.experiment import Thresholds
from traitvec_core.report import plots
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.separation import Separation

__all__ = [
    "effect_size_by_layer",
    "held_out_histogram",
    "held_out_projections",
    "separation_heatmaps",
    "shares_of_separation",
]


def effect_size_by_layer(separation: Separation, chance: Chance | None) -> bytes:
    """Draw held-out effect sizes by layer and method, with the band of random directions."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        random = chance.random if chance is not None else None
        if random is not None:
            axes.fill_between(
                [score.layer for score in random.layers],
                [score.effect_size_median for score in random.layers],
                [score.effect_size_high for score in random.layers],
                color=plots.MUTED, alpha=0.3, linewidth=0,
                label="random directions (median to 95%)",
            )  # fmt: skip
            axes.axhline(random.effect_size_high, color="black", linewidth=1, linestyle="--",
                         label="95% of their best")  # fmt: skip
        plots.draw_by_layer(axes, separation, "effect_size")
        axes.set(xlabel="layer (0 = embeddings)", ylabel="held-out effect size")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        plots.legend_below(figure, axes, columns=3)

    return plots._picture(draw)


def separation_heatmaps(separation: Separation) -> bytes:
    """Draw held-out AUROC and effect size, method × layer."""

    def draw(figure: Figure) -> None:
        figure.set_size_inches(*plots.WIDE)
        aurocs, sizes, methods, layers = _tables(separation)
        for axes, table, label, low, high in zip(
            figure.subplots(1, 2), (aurocs, sizes), ("AUROC", "effect size"), (0.5, 0.0),
            (1.0, np.nanmax(sizes, initial=0.0)), strict=True,
        ):  # fmt: skip
            image = axes.imshow(table, aspect="auto", cmap="Blues", vmin=low, vmax=high)
            axes.set_yticks(range(len(methods)), methods)
            axes.set_title(f"held-out {label}", fontsize=9)
            axes.set_xlabel("layer (0 = embeddings)")
            plots.mark_some(axes, layers)
            figure.colorbar(image, ax=axes)

    return plots._picture(draw)


def shares_of_separation(explanations: Explanations, thresholds: Thresholds) -> bytes:
    """Draw which share of a vector's separation each other explanation has, with its interval."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        shares = [s for s in explanations.shares if s.share_of_separation.value is not None]
        for place, share in enumerate(shares):
            estimate = share.share_of_separation
            axes.barh(place, estimate.value or 0.0, color=plots.POSITIVE, alpha=0.65)
            if estimate.interval is not None:
                # An interval may leave the picture; the table has its ends.
                axes.plot(np.clip(estimate.interval, -0.5, 1.5), (place, place), color="black",
                          linewidth=1)  # fmt: skip
        axes.set_yticks(range(len(shares)), [share.name for share in shares])
        axes.invert_yaxis()
        for threshold, style in ((thresholds.share_warning, ":"), (thresholds.share, "--")):
            axes.axvline(threshold, color="black", linewidth=1, linestyle=style)
        axes.set(xlabel="share of the separation", xlim=(-0.5, 1.5))

    return plots._picture(draw)


def held_out_histogram(margins: Sequence[float | None], is_positive: Sequence[bool]) -> bytes:
    """Draw a histogram of held-out responses along a vector; see `held_out_projections`."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_histogram(axes, np.array(margins, dtype=float), np.array(is_positive, dtype=bool))
        axes.set(xlabel="held-out projection, from the threshold", ylabel="responses")
        plots.legend_below(figure, axes, fontsize=8.5)

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
        _draw_histogram(top, values, poles)
        for chosen, colour, offset in (
            (~poles, plots.NEGATIVE, -0.15),
            (poles, plots.POSITIVE, 0.15),
        ):
            below.scatter(values[chosen], np.array(questions)[chosen] + offset, s=12, color=colour,
                          alpha=0.7, linewidths=0)  # fmt: skip
        below.axvline(0, color="black", linewidth=1, linestyle="--")
        top.set(ylabel="responses")
        plots.legend_below(figure, top)
        below.set(ylabel="question", xlabel="projection, from the threshold (activation units)")
        below.invert_yaxis()

    return plots._picture(draw)


def _draw_histogram(axes: Axes, values: np.ndarray, is_positive: np.ndarray) -> None:
    known = values[np.isfinite(values)]
    bins = np.linspace(known.min(), known.max(), 40).tolist() if len(known) else 1
    for chosen, colour, name in (
        (~is_positive, plots.NEGATIVE, "negative"),
        (is_positive, plots.POSITIVE, "positive"),
    ):
        own = values[chosen]
        axes.hist(own[np.isfinite(own)], bins=bins, color=colour, alpha=0.65, label=name)
    axes.axvline(0, color="black", linewidth=1, linestyle="--")


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
