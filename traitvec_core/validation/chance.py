"""What chance alone would give: label permutations, and random directions.

Both are corrected for the many layers and methods that were measured: the best of them is compared
with the best that each permutation, or each draw of random directions, gives over the same layers
and methods (max-T; Westfall & Young 1993, "Resampling-based multiple testing").
"""

from collections.abc import Callable, Sequence
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.held_out import HeldOut, Split, score_draws
from traitvec_core.validation.resampling import Permutations, permute_labels
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.extract import layer_examples, over_layers

__all__ = ["Chance", "ChanceScore", "RandomScore", "measure_chance"]


class ChanceScore(BaseModel):
    """One method at one layer, compared with permuted labels.

    Attributes:
        method: `mean_diff` or `probe` (at one fixed C; see `permute_labels`).
        layer: Row of the activation tensor.
        auroc: Held-out AUROC with the true labels.
        p_value: Share of the labelings, the true one included, that do at least as well here.
        corrected_p_value: The same, comparing with each labeling's best over layers and methods.
    """

    method: VectorMethod
    layer: int
    auroc: float
    p_value: float
    corrected_p_value: float


class RandomScore(BaseModel):
    """The effect sizes of random directions at one layer.

    Attributes:
        layer: Row of the activation tensor.
        effect_size_median: Median of their held-out effect sizes.
        effect_size_high: 95th percentile.
    """

    layer: int
    effect_size_median: float
    effect_size_high: float


class Chance(BaseModel):
    """How far the held-out figures of a trait are from those of chance.

    Attributes:
        untested: Why nothing could be tested; empty otherwise.
        permutation_p_value: Of the best of `scores`, corrected over layers and methods; exact. This
            and the next four are None when nothing was tested.
        random_p_value: Of the best held-out effect size over layers and methods, compared with the
            best of as many random directions.
        best_effect_size: That effect size.
        random_effect_size: 95th percentile of the best of as many random directions.
        smallest_p_value: The smallest possible `permutation_p_value`: 1 / (1 + permutations), or
            one over the number of labelings if there are fewer.
        n_permutations: Permutations drawn.
        n_random: Draws of random directions.
        n_movable: Examples whose question has both poles; the labels of the others never move.
        scores: Each method and layer compared with permuted labels.
        random: Random directions, one entry per layer.
    """

    untested: str = ""
    permutation_p_value: float | None = None
    random_p_value: float | None = None
    best_effect_size: float | None = None
    random_effect_size: float | None = None
    smallest_p_value: float | None = None
    n_permutations: int = 0
    n_random: int = 0
    n_movable: int = 0
    scores: list[ChanceScore] = []
    random: list[RandomScore] = []


def measure_chance(
    activations: torch.Tensor,
    held_out: HeldOut,
    *,
    n_permutations: int = 200,
    n_random: int = 200,
    seed: int = 0,
    on_layer: Callable[[int], None] = lambda layer: None,
) -> Chance:
    """Compare a trait's held-out figures with label permutations and random directions.

    Permutations are those of `permute_labels`: within questions, repeating extraction and scoring,
    for `mean_diff` and `probe`. The statistic is AUROC, whose null is similar at all layers.

    A draw of random directions has one isotropic direction per layer and measured method, oriented
    towards positive on each training split like any vector. The statistic is the effect size: with
    few examples or poles far apart, AUROC saturates at 1.0 for many random directions too. The
    effect size has no scale, so directions matched in norm to the vectors would give the same.

    Row 0 is not a trait vector and is left out, unless it is the only row.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        held_out: From `hold_out` with folds by question.
        n_permutations: Number of permutations.
        n_random: Number of draws of random directions.
        seed: The seed of `held_out`, so that folds are the same.
        on_layer: Called with every finished layer, first of permutations, then of directions.

    Returns:
        The p-values, one-sided; with `untested` where labels cannot be permuted.
    """
    layers = [layer for layer in held_out.layers if layer != 0] or held_out.layers
    try:
        permutations = permute_labels(
            activations, held_out.is_positive, held_out.groups, layers=layers,
            n_permutations=n_permutations, seed=seed, on_layer=on_layer,
        )  # fmt: skip
    except TraitvecError as error:
        return Chance(untested=str(error))
    # Permuting within questions works with one example per pole; a deviation needs two.
    n_positive = int(held_out.is_positive[held_out.is_scored].sum())
    if not 2 <= n_positive <= held_out.is_scored.sum() - 2:
        return Chance(untested="two held-out examples of each pole are needed")
    methods = list(dict.fromkeys(name for name, _ in held_out.margins if name != "random"))
    drawn = np.array(
        over_layers(
            lambda layer: _random_effects(
                activations, held_out, layer, n_random * len(methods), seed
            ),
            layers,
            on_layer,
        )
    )
    effects = [
        score_draws(held_out.margins[method, layer], held_out, n_resamples=0)["effect_size"][0]
        for method in methods
        for layer in layers
    ]
    observed = float(np.nanmax(effects))
    # [n_layers, n_random, n_methods]: the best of each draw, over both others.
    best = drawn.reshape(len(layers), n_random, len(methods)).max(axis=(0, 2))
    scores, permutation_p_value = _corrected(permutations)
    return Chance(
        permutation_p_value=permutation_p_value,
        random_p_value=float((1 + (best >= observed).sum()) / (1 + n_random)),
        best_effect_size=observed,
        random_effect_size=float(np.percentile(best, 95)),
        smallest_p_value=max(1 / (1 + n_permutations), 1 / count_labelings(held_out)),
        n_permutations=n_permutations,
        n_random=n_random,
        n_movable=permutations[0].n_movable,
        scores=scores,
        random=[
            RandomScore(
                layer=layer,
                effect_size_median=float(np.median(row)),
                effect_size_high=float(np.percentile(row, 95)),
            )
            for layer, row in zip(layers, drawn, strict=True)
        ],
    )


def _corrected(permutations: Sequence[Permutations]) -> tuple[list[ChanceScore], float]:
    """Every method and layer with its p-values, and the smallest corrected one."""
    # All methods and layers share the permutations, so each permutation has a best.
    best = np.max([result.null.max(axis=1) for result in permutations], axis=0)
    scores = [
        ChanceScore(
            method=result.method,
            layer=layer,
            auroc=float(auroc),
            p_value=float(p_value),
            corrected_p_value=float((1 + (best >= auroc).sum()) / (1 + len(best))),
        )
        for result in permutations
        for layer, auroc, p_value in zip(
            result.layers, result.observed, result.p_values, strict=True
        )
    ]
    return scores, min(score.corrected_p_value for score in scores)


def _random_effects(
    activations: torch.Tensor, split: Split, layer: int, n: int, seed: int
) -> Array:
    """Held-out effect sizes `[n]` of random directions at one layer."""
    examples = layer_examples(activations, layer, split.is_positive, split.groups)
    directions = np.random.default_rng([seed, layer]).standard_normal((examples.values.shape[1], n))
    projected = examples.values @ directions
    margins = np.full_like(projected, np.nan)
    for mask in split.folds:
        positive = projected[~mask & split.is_positive].mean(axis=0)
        negative = projected[~mask & ~split.is_positive].mean(axis=0)
        sign = np.where(positive < negative, -1.0, 1.0)
        margins[mask] = sign * (projected[mask] - (positive + negative) / 2)
    return _effect_sizes(margins[split.is_scored], split.is_positive[split.is_scored])


def _effect_sizes(margins: Array, is_positive: NDArray[np.bool_]) -> Array:
    """Cohen's d of each column of `[n_examples, n]`, as in `score_draws`."""
    positive, negative = margins[is_positive], margins[~is_positive]
    gaps = positive.mean(axis=0) - negative.mean(axis=0)
    squares = positive.var(axis=0) * len(positive) + negative.var(axis=0) * len(negative)
    pooled = np.sqrt(squares / max(len(margins) - 2, 1))
    effects: Array = np.divide(gaps, pooled, out=np.zeros_like(gaps), where=pooled > 0)
    return effects


def count_labelings(split: Split) -> int:
    """Count the labelings of the scored examples when labels move within questions only."""
    total = 1
    for group in np.unique(split.groups[split.is_scored]):
        inside = split.is_positive[split.groups == group]
        total *= comb(len(inside), int(inside.sum()))
    return total
