"""What chance alone would give: swapped instruction pairs, swapped questions, random directions.

All are corrected for the many layers and methods that were measured: the best of them is compared
with the best that each labeling, or each draw of random directions, gives over the same layers and
methods (max-T; Westfall & Young 1993, "Resampling-based multiple testing").
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.draws import score_draws
from traitvec_core.validation.held_out import HeldOut, Split
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.validation.permutations import permuted_scores, rank_score
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.extract import layer_examples, over_layers

__all__ = ["Chance", "ChanceScore", "RandomScore", "RandomTest", "SwapTest", "measure_chance"]


class SwapTest(BaseModel):
    """The best held-out figure, compared with the best under swapped labels.

    Attributes:
        of: What was swapped as a whole.
        n_groups: Groups with both poles; the labels of the others never move.
        n_labelings: Labelings compared with, the true one included.
        p_value: Share of the labelings that do at least as well, over all layers and methods; the
            true one included, so the test is exact.
        is_exhaustive: Whether these are all labelings that differ.
    """

    of: str
    n_groups: int
    n_labelings: int
    p_value: float
    is_exhaustive: bool

    @property
    def smallest_p_value(self) -> float:
        """The smallest possible p-value."""
        return 1 / self.n_labelings


class ChanceScore(BaseModel):
    """One method at one layer, compared with swapped labels.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        auroc: Held-out AUROC with the true labels.
        corrected_p_value: Share of the labelings whose best over layers and methods does at least
            as well; the larger of those for swapped pairs and for swapped questions.
    """

    method: VectorMethod
    layer: int
    auroc: float
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


class RandomTest(BaseModel):
    """The best held-out effect size, compared with the best of as many random directions.

    Attributes:
        p_value: Share of the draws whose best does at least as well, over all layers and methods.
        best_effect_size: The best vector's effect size.
        effect_size_high: 95th percentile of the best of as many random directions.
        n_draws: Draws of random directions.
        layers: Random directions, one entry per layer.
    """

    p_value: float
    best_effect_size: float
    effect_size_high: float
    n_draws: int
    layers: list[RandomScore]


class Chance(BaseModel):
    """How far the held-out figures of a trait are from those of chance.

    Attributes:
        untested: Why nothing could be tested; empty otherwise.
        by_pair: Poles of entire instruction pairs swapped; None where pairs are not known.
        by_question: Poles of entire questions swapped.
        random: Compared with random directions; None when nothing was tested.
        scores: Each method and layer compared with swapped labels.
    """

    untested: str = ""
    by_pair: SwapTest | None = None
    by_question: SwapTest | None = None
    random: RandomTest | None = None
    scores: list[ChanceScore] = []

    @property
    def tests(self) -> list[SwapTest]:
        """The swap tests that were made."""
        return [test for test in (self.by_pair, self.by_question) if test is not None]

    @property
    def permutation_p_value(self) -> float | None:
        """The larger p-value of the swap tests: a trait must survive each of them."""
        return max((test.p_value for test in self.tests), default=None)

    def of(self, method: str, layer: int) -> ChanceScore | None:
        """Return one entry, or None."""
        return next((s for s in self.scores if s.method == method and s.layer == layer), None)


def measure_chance(
    activations: torch.Tensor,
    held_out: HeldOut,
    *,
    n_labelings: int = 128,
    n_random: int = 200,
    seed: int = 0,
    on_layer: Callable[[int], None] = lambda layer: None,
) -> Chance:
    """Compare a trait's held-out figures with swapped labels and with random directions.

    Two things may look like a trait and be none. Instruction texts each shift the activations in
    their own way: then it is arbitrary which text of a pair is called positive, and swapping the
    poles of entire pairs shows what such texts give. Or each question is answered differently under
    the two poles, in its own way: the same with questions. Labels of single rows are never
    permuted, because rows under one text are not exchangeable. Swapping all pairs gives the mirror
    image of every vector and the same figures, so n pairs have 2^(n−1) labelings and cannot show a
    smaller p-value than 2^(1−n): 1/16 for five pairs, 1/512 for ten.

    Swaps repeat extraction and scoring, for `mean_diff` and `probe`. The statistic is `rank_score`,
    whose null is similar at all layers.

    A draw of random directions has one isotropic direction per layer and measured method, oriented
    towards positive on each training split like any vector. The statistic is the effect size: with
    few examples or poles far apart, AUROC saturates at 1.0 for many random directions too.

    Row 0 is not a trait vector and is left out, unless it is the only row.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        held_out: From `hold_out`.
        n_labelings: The most labelings of each kind, the true one included.
        n_random: Number of draws of random directions.
        seed: For labelings and directions.
        on_layer: Called with every finished layer, first of swaps, then of directions.

    Returns:
        The p-values, one-sided; with `untested` where labels cannot be swapped.
    """
    if not held_out.folds:
        return Chance(untested="nothing could be held out, so nothing was compared with chance")
    n_positive = int(held_out.is_positive[held_out.is_scored].sum())
    if not 2 <= n_positive <= held_out.is_scored.sum() - 2:
        return Chance(untested="two held-out examples of each pole are needed")
    layers = [layer for layer in held_out.layers if layer != 0] or held_out.layers
    grouped = {"instruction pairs": held_out.pairs, "questions": held_out.questions}
    labelings = {
        name: swap_poles(held_out.is_positive, groups, n_labelings - 1, seed)
        for name, groups in grouped.items()
        if groups is not None
    }
    if not any(each.n_groups for each in labelings.values()):
        return Chance(untested="no question and no instruction pair has both poles")
    tables = permuted_scores(
        activations, held_out, list(labelings.values()), layers=layers, on_layer=on_layer
    )
    # All methods and layers share the labelings, so each labeling has a best.
    bests = [table.max(axis=1) for table in tables]
    tests = {
        name: SwapTest(
            of=name,
            n_groups=each.n_groups,
            n_labelings=len(each.labels),
            p_value=_share_at_least(best, best[0]),
            is_exhaustive=len(each.labels) == each.n_distinct,
        )
        for (name, each), best in zip(labelings.items(), bests, strict=True)
    }
    return Chance(
        by_pair=tests.get("instruction pairs"),
        by_question=tests["questions"],
        scores=_scores(held_out, layers, bests),
        random=_compare_with_random(activations, held_out, layers, n_random, seed, on_layer),
    )


def _share_at_least(best: Array, value: float) -> float:
    # The first is that of the true labels. Equal scores may differ in the last digit.
    others = int((best[1:] >= value - 1e-9).sum())
    return (1 + others) / len(best)


def _scores(held_out: HeldOut, layers: Sequence[int], bests: Sequence[Array]) -> list[ChanceScore]:
    scores = []
    for (method, layer), margins in held_out.margins.items():
        if method == "random" or layer not in layers:
            continue
        rank = rank_score(margins, held_out)
        scores.append(
            ChanceScore(
                method=method,
                layer=layer,
                auroc=float(score_draws(margins, held_out, n_resamples=0)["auroc"][0]),
                corrected_p_value=max(_share_at_least(best, rank) for best in bests),
            )
        )
    return scores


def _compare_with_random(
    activations: torch.Tensor,
    held_out: HeldOut,
    layers: Sequence[int],
    n_random: int,
    seed: int,
    on_layer: Callable[[int], None],
) -> RandomTest:
    methods = list(dict.fromkeys(name for name, _ in held_out.margins if name != "random"))
    n = n_random * len(methods)
    drawn = np.array(
        over_layers(
            lambda layer: _random_effects(activations, held_out, layer, n, seed), layers, on_layer
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
    return RandomTest(
        p_value=float((1 + (best >= observed).sum()) / (1 + n_random)),
        best_effect_size=observed,
        effect_size_high=float(np.percentile(best, 95)),
        n_draws=n_random,
        layers=[
            RandomScore(
                layer=layer,
                effect_size_median=float(np.median(row)),
                effect_size_high=float(np.percentile(row, 95)),
            )
            for layer, row in zip(layers, drawn, strict=True)
        ],
    )


def _random_effects(
    activations: torch.Tensor, split: Split, layer: int, n: int, seed: int
) -> Array:
    """Held-out effect sizes `[n]` of random directions at one layer."""
    examples = layer_examples(activations, layer, split.is_positive, split.questions)
    directions = np.random.default_rng([seed, layer]).standard_normal((examples.values.shape[1], n))
    projected = examples.values @ directions
    margins = np.full_like(projected, np.nan)
    for fold in split.folds:
        positive = projected[fold.training & split.is_positive].mean(axis=0)
        negative = projected[fold.training & ~split.is_positive].mean(axis=0)
        sign = np.where(positive < negative, -1.0, 1.0)
        margins[fold.test] = sign * (projected[fold.test] - (positive + negative) / 2)
    return _effect_sizes(margins[split.is_scored], split.is_positive[split.is_scored])


def _effect_sizes(margins: Array, is_positive: NDArray[np.bool_]) -> Array:
    """Cohen's d of each column of `[n_examples, n]`, as in `score_draws`."""
    positive, negative = margins[is_positive], margins[~is_positive]
    gaps = positive.mean(axis=0) - negative.mean(axis=0)
    squares = positive.var(axis=0) * len(positive) + negative.var(axis=0) * len(negative)
    pooled = np.sqrt(squares / max(len(margins) - 2, 1))
    effects: Array = np.divide(gaps, pooled, out=np.zeros_like(gaps), where=pooled > 0)
    return effects
