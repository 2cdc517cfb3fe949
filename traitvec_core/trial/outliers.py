"""Which pairs, or which questions, elicit less than the others: a rule with a null hypothesis.

The null is that all are alike. Then the contrasts on one question could have come from any pair,
and shuffling them among the pairs gives what chance alone would show. The statistic of a pair is
its mean distance from its questions' means. It is compared with the lowest of *all* pairs under
each shuffle, so where all are alike, one is named in at most `ALPHA` of the trials, however many
pairs there are. Each that is named is left out, and the rest is tested again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHA", "Cell", "Outliers", "find_outliers"]

ALPHA = 0.05
"""How often one is named, at most, where all are alike."""

_N_SHUFFLES = 4000
# Sums in another order differ in their last digits.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Cell:
    """The contrast of one pair on one question.

    Attributes:
        unit: What is compared: the pair's number, or the question's.
        block: Where it was measured: the question's number, or the pair's.
        contrast: Trait score, positive − negative.
    """

    unit: int
    block: int
    contrast: float


@dataclass(frozen=True)
class Outliers:
    """What stands out.

    Attributes:
        named: Units that elicit less than the others and less than the limit, the lowest first.
        p: How often chance alone puts the lowest unit as low, by unit: of all units, and for the
            named ones of those that were still in the test.
    """

    named: tuple[int, ...]
    p: dict[int, float]


def find_outliers(cells: Sequence[Cell], limit: float, *, seed: int = 0) -> Outliers:
    """Find the units that elicit less than the others, and less than a limit.

    Args:
        cells: Contrasts, at most one per unit and block.
        limit: A unit whose mean contrast is not below this is never named.
        seed: Seeds the shuffles.
    """
    named: list[int] = []
    p: dict[int, float] = {}
    while True:
        left = [cell for cell in cells if cell.unit not in named]
        now = _chances(left, seed)
        # What stays keeps its chance among all units.
        p = p or dict(now)
        candidates = [unit for unit in now if _mean(left, unit) < limit and now[unit] <= ALPHA]
        if not candidates:
            return Outliers(tuple(named), p)
        lowest = min(candidates, key=lambda unit: (now[unit], _mean(left, unit)))
        named.append(lowest)
        p[lowest] = now[lowest]


def _mean(cells: Sequence[Cell], unit: int) -> float:
    return float(np.mean([cell.contrast for cell in cells if cell.unit == unit]))


def _chances(cells: Sequence[Cell], seed: int) -> dict[int, float]:
    """Return the chance of each unit's statistic, corrected for having looked at all."""
    units = sorted({cell.unit for cell in cells})
    if len(units) < 2:
        return dict.fromkeys(units, 1.0)
    blocks = [
        [cell for cell in cells if cell.block == block]
        for block in sorted({cell.block for cell in cells})
    ]
    members = [np.array([units.index(cell.unit) for cell in block]) for block in blocks]
    centred = [np.array([cell.contrast for cell in block]) for block in blocks]
    centred = [values - values.mean() for values in centred]
    counts = np.bincount(np.concatenate(members), minlength=len(units))
    rng = np.random.default_rng(seed)
    sums = np.zeros((_N_SHUFFLES, len(units)))
    observed = np.zeros(len(units))
    for values, own in zip(centred, members, strict=True):
        observed[own] += values
        sums[:, own] += _shuffled(values, rng)
    lowest = (sums / counts).min(axis=1)
    return {
        unit: float(
            (1 + np.sum(lowest <= observed[k] / counts[k] + _TOLERANCE)) / (1 + len(lowest))
        )
        for k, unit in enumerate(units)
    }


def _shuffled(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.permuted(np.tile(values, (_N_SHUFFLES, 1)), axis=1)
