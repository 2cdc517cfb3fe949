"""How much of a vector's separation something else explains: a number, or the instruction."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.estimate import Estimate
from traitvec_core.validation.draws import crossed_draws
from traitvec_core.validation.held_out import Split
from traitvec_core.vectors.examples import Array

__all__ = ["ShareName", "ShareOfVector", "instruction_share", "share_of_vector"]

ShareName = Literal["length", "refusal", "words", "embeddings", "instruction"]

_N_RESAMPLES = 200


class ShareOfVector(BaseModel):
    """How much of what a vector measures is explained by something else.

    Attributes:
        name: `length` (the logarithm of characters), `refusal`, `words` or `embeddings` (the
            held-out score of that classifier), or `instruction`.
        correlation: Of the number with the held-out projections, within the poles; without a value
            for `instruction`.
        share_of_separation: The share of the poles' distance along the vector. For a number: the
            slope within the poles, times the poles' difference in the number, over the distance.
            For `instruction`: see `instruction_share`. 0 is none, 1 all; it may leave [0, 1] where
            the poles differ the other way. Without a value where a number does not vary within the
            poles, so that nothing shows its effect.
    """

    name: ShareName
    correlation: Estimate
    share_of_separation: Estimate


def share_of_vector(
    name: ShareName, values: Array, margins: Array, split: Split, seed: int
) -> ShareOfVector:
    """Return the share that one number per response explains (analysis of covariance).

    Args:
        name: What the number is.
        values: `[n_examples]`.
        margins: `[n_examples]`: held-out projections on the vector.
        split: What was held out together.
        seed: For the draws of the interval.
    """
    scored = split.is_scored
    weights = np.vstack([np.ones(len(values)), crossed_draws(split, _N_RESAMPLES, seed)])[:, scored]
    x, y, positive = values[scored], margins[scored], split.is_positive[scored]
    products = np.zeros((3, len(weights)))
    differences = np.zeros((2, len(weights)))
    with np.errstate(invalid="ignore", divide="ignore"):
        for pole, sign in ((positive, 1), (~positive, -1)):
            w, own_x, own_y = weights[:, pole], x[pole] - x.mean(), y[pole] - y.mean()
            total = w.sum(axis=1)
            mean_x, mean_y = w @ own_x / total, w @ own_y / total
            differences += sign * np.array([mean_x, mean_y])
            for row, (first, second) in enumerate(((own_x, own_y), (own_x, own_x), (own_y, own_y))):
                products[row] += w @ (first * second)
            products -= total * np.array([mean_x * mean_y, mean_x**2, mean_y**2])
        varies = products[1] > 1e-12 * weights.sum(axis=1)
        slope = np.where(varies, products[0] / products[1], np.nan)
        correlation = np.where(varies, products[0] / np.sqrt(products[1] * products[2]), np.nan)
        share = slope * differences[0] / differences[1]
    # A number that is the same everywhere explains nothing, and that is known.
    if np.ptp(x) == 0:
        correlation, share = np.zeros_like(share), np.zeros_like(share)
    n = split.n_clusters
    return ShareOfVector(
        name=name,
        correlation=Estimate.from_cluster_draws(correlation, n, (-1, 1)),
        share_of_separation=Estimate.from_cluster_draws(share, n),
    )


def instruction_share(margins: Array, opposite: Array, split: Split, seed: int) -> ShareOfVector:
    """Return the share of the separation that follows the instruction and not the response.

    Each response is read after its own instruction and after the opposite one of its pair: two
    responses × two instructions. The effect of the instruction, averaged over the responses, and
    that of the response, averaged over the instructions, add up to the separation.

    Args:
        margins: `[n_examples]`: held-out projections of the responses after their own instruction.
        opposite: `[n_examples]`: the same after the opposite one, on the same vectors.
        split: What was held out together.
        seed: For the draws of the interval.
    """
    scored = split.is_scored & np.isfinite(opposite)
    weights = np.vstack([np.ones(len(margins)), crossed_draws(split, _N_RESAMPLES, seed)])[
        :, scored
    ]
    own, other, positive = margins[scored], opposite[scored], split.is_positive[scored]

    def means(values: Array, pole: NDArray[np.bool_]) -> Array:
        averaged: Array = weights[:, pole] @ values[pole] / weights[:, pole].sum(axis=1)
        return averaged

    with np.errstate(invalid="ignore", divide="ignore"):
        separation = means(own, positive) - means(own, ~positive)
        of_positive = means(own - other, positive)
        of_negative = means(other - own, ~positive)
        share = (of_positive + of_negative) / 2 / separation
    return ShareOfVector(
        name="instruction",
        correlation=Estimate(),
        share_of_separation=Estimate.from_cluster_draws(share, split.n_clusters),
    )
