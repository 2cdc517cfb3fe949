"""Compare vectors with vectors, and with other traits' poles: arithmetic on values."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.estimate import Estimate
from traitvec_core.validation.draws import resampled
from traitvec_core.vectors.examples import Array

__all__ = ["cluster_order", "correlation_within", "cosine_matrix", "cross_separation"]

_N_RESAMPLES = 200


def cosine_matrix(vectors: Sequence[torch.Tensor | None]) -> Array:
    """Return the cosine of every two vectors of one layer.

    Args:
        vectors: `[hidden_dim]` each, or None for a trait without one.

    Returns:
        `[n, n]`; NaN where a vector is missing or zero.
    """
    known = [v for v in vectors if v is not None]
    if not known:
        return np.full((len(vectors), len(vectors)), np.nan)
    nothing = torch.full_like(known[0], torch.nan, dtype=torch.float64)
    stacked = torch.stack([nothing if v is None else v.double() for v in vectors]).numpy()
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        units = stacked / lengths
        cosines: Array = np.clip(units @ units.T, -1.0, 1.0)
    return cosines


def cluster_order(cosines: Array) -> list[int]:
    """Return an order that puts similar vectors beside each other.

    Average linkage on 1 − cosine, with branches turned so that neighbours are as similar as
    possible. A missing cosine counts as 0.

    Args:
        cosines: `[n, n]`.
    """
    if len(cosines) < 3:
        return list(range(len(cosines)))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distances = 1.0 - np.nan_to_num(cosines, nan=0.0)
    np.fill_diagonal(distances, 0.0)
    condensed = squareform((distances + distances.T) / 2, checks=False)
    tree = linkage(np.maximum(condensed, 0.0), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]


def cross_separation(projections: Array, is_positive: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Measure how well each of several directions separates the poles of one trait.

    Args:
        projections: `[n_examples, n_directions]`.
        is_positive: `[n_examples]`.

    Returns:
        AUROC `[n_directions]`, ties counting half, and effect size (distance of the means over the
        pooled std) `[n_directions]`, NaN where it is not defined.
    """
    from scipy.stats import rankdata

    positive, negative = projections[is_positive], projections[~is_positive]
    n, m = len(positive), len(negative)
    if not n or not m:
        nothing = np.full(projections.shape[1], np.nan)
        return nothing, nothing
    ranks = rankdata(projections, axis=0)[is_positive].sum(axis=0)
    auroc: Array = (ranks - n * (n + 1) / 2) / (n * m)
    auroc[np.isnan(projections).any(axis=0)] = np.nan
    scatter = n * positive.var(axis=0) + m * negative.var(axis=0)
    gap = positive.mean(axis=0) - negative.mean(axis=0)
    pooled = np.sqrt(scatter / max(n + m - 2, 1))
    effect = np.divide(gap, pooled, out=np.full_like(gap, np.nan), where=pooled > 0)
    return auroc, effect


def correlation_within(
    one: Array, other: Array, cells: NDArray[np.int64], groups: NDArray[np.int64]
) -> Estimate:
    """Correlate two projections of the same responses, within cells.

    Each cell's mean is subtracted first. A pole is a cell: the instruction moves both projections,
    so a correlation over both poles would mostly show that each vector separates the poles.

    Args:
        one: `[n_examples]`, in any unit.
        other: `[n_examples]`.
        cells: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers.

    Returns:
        The correlation, with percentiles over questions drawn with replacement; without a value
        with fewer than three examples, or where one projection does not vary.
    """
    if len(one) < 3:
        return Estimate()
    _, weights = resampled(groups, _N_RESAMPLES, seed=0)
    drawn = np.vstack([np.ones(len(one)), weights])
    products = np.zeros((3, len(drawn)))
    for cell in np.unique(cells):
        chosen = cells == cell
        w = drawn[:, chosen]
        # Squares of centred values lose little to rounding.
        x, y = one[chosen] - one[chosen].mean(), other[chosen] - other[chosen].mean()
        total = np.maximum(w.sum(axis=1), 1.0)
        sum_x, sum_y = w @ x, w @ y
        products[0] += w @ (x * x) - sum_x**2 / total
        products[1] += w @ (y * y) - sum_y**2 / total
        products[2] += w @ (x * y) - sum_x * sum_y / total
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = products[2] / np.sqrt(products[0] * products[1])
    return Estimate.from_draws(correlations) if np.isfinite(correlations[0]) else Estimate()
