"""Pictures of what steering does: trait and coherence by coefficient."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from traitvec_core.estimate import Estimate
from traitvec_core.report import plots
from traitvec_core.steering_evaluation.result import Scores, SteeringEvaluation

__all__ = ["dose_response"]

_TRAIT, _COHERENCE = plots.POSITIVE, plots.NEGATIVE


def dose_response(steering: SteeringEvaluation) -> bytes:
    """Draw trait score and coherence by coefficient on held-out questions, with the controls."""
    chosen = steering.tested

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        doses = steering.dose_response
        _draw_curve(axes, doses, [s.trait for s in doses], _TRAIT, "trait score")
        _draw_curve(axes, doses, [s.coherence for s in doses], _COHERENCE, "coherence")
        prompted = steering.prompted.trait.value
        if prompted is not None:
            axes.axhline(prompted, color=_TRAIT, linestyle="--", linewidth=1,
                         label="prompted")  # fmt: skip
        axes.axhline(steering.options.min_coherence, color=_COHERENCE, linestyle=":", linewidth=1,
                     label="minimum coherence")  # fmt: skip
        controls = [
            (s.coefficient, s.trait.value) for s in steering.random if s.trait.value is not None
        ]
        if controls:
            axes.plot(*zip(*controls, strict=True), "o", color="black", markersize=4, alpha=0.5,
                      linestyle="none", label="random directions")  # fmt: skip
        bound, base = steering.test.bound, steering.unsteered.trait.value
        if chosen is not None and bound is not None and base is not None:
            axes.plot(chosen.coefficient, base + bound, "_", color="black", markersize=16,
                      label="reached by chance")  # fmt: skip
        if chosen is not None:
            axes.axvline(chosen.coefficient, color="black", linewidth=0.8, linestyle="--",
                         label="chosen")  # fmt: skip
        axes.set(xlabel="coefficient (0 = without steering)", ylabel="score", ylim=(0, 103))
        plots.legend_below(figure, axes, columns=3, fontsize=8.5)

    return plots._picture(draw)


def _draw_curve(
    axes: Axes, doses: Sequence[Scores], scores: Sequence[Estimate], colour: str, label: str
) -> None:
    places = [dose.coefficient for dose in doses]
    mean, low, high = np.array(
        [(each.value, each.low, each.high) for each in scores], dtype=float
    ).reshape(-1, 3).T  # fmt: skip
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(places, mean, marker="o", markersize=4, color=colour, label=label)
