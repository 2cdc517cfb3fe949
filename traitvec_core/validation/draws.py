"""Figures of a classifier over questions and instruction pairs drawn with replacement."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from traitvec_core.validation.held_out import Split
from traitvec_core.vectors.examples import Array

__all__ = ["ScoreName", "crossed_draws", "resampled", "score_draws"]

ScoreName = Literal["balanced_accuracy", "auroc", "effect_size", "separation"]


def score_draws(
    margins: Array, split: Split, *, n_resamples: int = 200, seed: int = 0
) -> dict[ScoreName, Array]:
    """Compute held-out figures of one classifier over questions and pairs drawn with replacement.

    The draws depend on the seed and the split alone, so two classifiers on one split can be
    compared draw by draw. Nothing is refitted, because a question that is drawn twice would be on
    both sides of a split. The figures therefore show the variance of the test examples, not that of
    the vectors.

    Args:
        margins: `[n_examples]`: above 0 is called positive. The scale may differ between folds, not
            within one.
        split: What was held out together.
        n_resamples: Number of draws.
        seed: For the draws.

    Returns:
        `[1 + n_resamples]` for each figure, the first with every example once; NaN where a draw
        lacks what the figure needs. `SeparationScore` defines the figures; balanced accuracy is the
        mean of the two poles' accuracies, 0.5 by chance however uneven the poles are.
    """
    drawn = np.vstack([np.ones(len(split.questions)), crossed_draws(split, n_resamples, seed)])
    poles = []
    for pole in (split.is_positive, ~split.is_positive):
        chosen = split.is_scored & pole
        values = margins[chosen]
        centre = values.mean() if len(values) else 0.0
        right = (values > 0) == split.is_positive[chosen]
        # Count, right ones, distances and squares.
        columns = [np.ones(len(values)), right, values - centre, (values - centre) ** 2]
        n, n_right, distance, squares = (drawn[:, chosen] @ np.array(columns).T).T
        poles.append((n, n_right, distance, squares, centre))
    (n, n_right, distance, squares, centre), (m, m_right, other, more, middle) = poles
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = centre + distance / n - middle - other / m
        scatter = squares - distance**2 / n + more - other**2 / m
        pooled = np.sqrt(np.maximum(scatter, 0.0) / (n + m - 2))
        # Rounding leaves a trace of scatter among equal projections.
        varies = pooled > 1e-12 * np.abs(gap)
        effect = np.divide(gap, pooled, out=np.zeros_like(gap), where=varies)
        effect[(n < 2) | (m < 2)] = np.nan
        return {
            "balanced_accuracy": (n_right / n + m_right / m) / 2,
            "auroc": _drawn_aurocs(margins, split, drawn),
            "effect_size": effect,
            "separation": gap,
        }


def crossed_draws(split: Split, n: int, seed: int) -> Array:
    """Draw questions and instruction pairs with replacement, independently of each other.

    An example counts as often as its question times its pair: the pigeonhole bootstrap (Owen 2007),
    which never understates the variance of crossed clusters.

    Returns:
        How often each example is drawn, `[n, n_examples]`.
    """
    by_question = resampled(split.questions, n, seed)[1]
    if split.crossed_pairs is None:
        return by_question
    # Another seed: equally many pairs and questions would otherwise be drawn alike.
    by_pair = resampled(split.crossed_pairs, n, seed + 1)[1]
    counts: Array = by_question * by_pair
    return counts


def resampled(groups: NDArray[np.int64], n: int, seed: int) -> tuple[Array, Array]:
    """Draw groups (questions) with replacement, the same way for the same seed and groups.

    Returns:
        How often each group `[n, n_groups]` and each example `[n, n_examples]` is drawn.
    """
    names, owner = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    counts = drawn.astype(np.float64)
    return counts, counts[:, owner]


def _drawn_aurocs(margins: Array, split: Split, counts: Array) -> Array:
    # Pairs are compared within a fold only: each fold has its own vector, and so its own scale.
    above = pairs = np.zeros(len(counts))
    for fold in split.folds:
        positive = np.flatnonzero(fold.test & split.is_positive)
        negative = np.flatnonzero(fold.test & ~split.is_positive)
        gaps = margins[positive][:, None] - margins[negative]
        left, right = counts[:, positive], counts[:, negative]
        above = above + ((left @ ((gaps > 0) + 0.5 * (gaps == 0))) * right).sum(axis=1)
        pairs = pairs + left.sum(axis=1) * right.sum(axis=1)
    # A draw may leave no fold with both poles.
    with np.errstate(invalid="ignore"):
        aurocs: Array = above / pairs
    return aurocs
