"""Label permutations and bootstraps: what chance gives, and how much the questions matter.

Permutations refit on permuted labels; bootstraps refit on resampled questions, or reweight the
held-out figures. None of it is needed to extract a vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.held_out import HeldOut, resampled, score_draws, split_groups
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, Examples, span_of
from traitvec_core.vectors.extract import layer_examples, over_layers
from traitvec_core.vectors.gradient import optima
from traitvec_core.vectors.logistic import fit_many
from traitvec_core.vectors.methods import METHODS
from traitvec_core.vectors.probe import CANDIDATES, choose_c, standardised

__all__ = [
    "AurocInterval",
    "Permutations",
    "Stability",
    "bootstrap_auroc",
    "bootstrap_stability",
    "permute_labels",
]

CONVEX_METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe", "gradient")
# Comparisons of held-out examples in memory at a time.
_MAX_COMPARISONS = 4_000_000


@dataclass(frozen=True, eq=False)
class Permutations:
    """Held-out AUROC under permuted labels.

    Attributes:
        method: `mean_diff` or `probe`.
        layers: Rows of the activation tensor.
        observed: `[n_layers]`: with the true labels.
        null: `[n_permutations, n_layers]`: with permuted labels.
        n_movable: Examples whose question has both poles; the labels of the others never move.
    """

    method: VectorMethod
    layers: list[int]
    observed: Array
    null: Array
    n_movable: int

    @property
    def p_values(self) -> Array:
        """`[n_layers]`: (1 + permutations at least as good) / (1 + permutations), one-sided."""
        beaten: Array = (1.0 + (self.null >= self.observed).sum(axis=0)) / (1.0 + len(self.null))
        return beaten

    @property
    def best_layer_p_value(self) -> float:
        """The p-value of the best layer, compared with the best layer of every permutation.

        Choosing the best of many layers inflates the score, so each permutation chooses too.
        """
        return float(
            (1 + (self.null.max(axis=1) >= self.observed.max()).sum()) / (1 + len(self.null))
        )


class Stability(BaseModel):
    """How much a vector depends on the questions at hand.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        cosine: Of the vectors from resampled questions with the vector from all of them: mean over
            the resamples, 2.5th and 97.5th percentile.
        n_resamples: Resamples that had both poles.
    """

    method: VectorMethod
    layer: int
    cosine: Estimate
    n_resamples: int


class AurocInterval(BaseModel):
    """Held-out AUROC with the interval that other questions might have given.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        auroc: On the questions at hand, with percentiles over the resamples.
    """

    method: VectorMethod
    layer: int
    auroc: Estimate


def permute_labels(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    layers: Sequence[int],
    n_permutations: int = 200,
    c: float = CANDIDATES[0],
    seed: int = 0,
    on_layer: Callable[[int], None] = lambda layer: None,
) -> list[Permutations]:
    """Repeat held-out extraction and scoring with permuted labels.

    Labels are permuted within each question. If the poles do not differ, any order of a question's
    labels is as likely as the observed one, however the questions differ. Folds stay the same, with
    as many positives on each side, and so do standardised activations, which do not depend on
    labels. The permuted labels replace the true ones in training and in scoring. One permutation is
    used at all layers, so that the best layers can be compared. A p-value of (1 + k) / (1 + n) is
    exact: under the null, p ≤ α in at most a share α of cases.

    Done for `mean_diff`, which has a closed form, and for `probe` at one fixed C, because choosing
    C again would cost 60 fits per permutation and layer. The observed figure uses the same C, so
    the test is exact for that probe; it may differ from the reported one, which chooses its C.
    `ica` and `gradient` have no such shortcut and would take minutes, so they are left out; the
    null of their AUROC is not that of these two.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers.
        layers: Rows to test.
        n_permutations: Number of permutations; the smallest p-value is 1 / (1 + n_permutations).
        c: The probe's C, not chosen by these labels.
        seed: For folds (the same as in `measure_separation`) and permutations.
        on_layer: Called with every finished layer.

    Returns:
        `mean_diff` and `probe`.

    Raises:
        TraitvecError: If the questions do not allow two folds, or no question has both poles.
    """
    split = split_groups(is_positive, groups, seed)
    if not split.folds:
        raise TraitvecError("label permutations need examples of both poles from two questions")
    first = layer_examples(activations, layers[0], is_positive, groups)
    labels, n_movable = draw_labels(first, split.is_scored, n_permutations, seed)
    if not n_movable:
        raise TraitvecError(
            "label permutations need a question with both poles; every question here has one only"
        )

    def permute_at(layer: int) -> tuple[Array, Array]:
        examples = layer_examples(activations, layer, is_positive, groups)
        above, pairs = np.zeros((2, len(labels))), np.zeros(len(labels))
        for mask in split.folds:
            training, testing = examples.subset(~mask), examples.values[mask]
            moved = testing - training.values.mean(axis=0)
            # Scaled by the training split alone, like the probe.
            scaled = standardised(training)
            span = span_of(scaled.points)
            target, truth = labels[:, ~mask], labels[:, mask]
            weights, _ = fit_many(span.coordinates, target, np.ones_like(target), c)
            shares = target / target.sum(axis=1, keepdims=True)
            shares -= (1 - target) / (1 - target).sum(axis=1, keepdims=True)
            scores = (
                shares @ (training.centred @ moved.T),
                weights @ span.to_basis(moved * scaled.inverse).T,
            )
            for index, score in enumerate(scores):
                above[index] += _pairs_above(score, truth)
            pairs += truth.sum(axis=1) * (1 - truth).sum(axis=1)
        return above[0] / pairs, above[1] / pairs

    # [n_layers, 2 methods, 1 + n_permutations]
    aurocs = np.array(over_layers(permute_at, layers, on_layer))
    return [
        Permutations(method, list(layers), aurocs[:, index, 0], aurocs[:, index, 1:].T, n_movable)
        for index, method in enumerate[VectorMethod](("mean_diff", "probe"))
    ]


def bootstrap_stability(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    layers: Sequence[int],
    methods: Sequence[VectorMethod] = CONVEX_METHODS,
    n_resamples: int = 200,
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> list[Stability]:
    """Extract from questions drawn with replacement, and compare with the vector from all.

    Entire questions are drawn, because examples of one question are similar. All layers and methods
    use the same draws; a draw without both poles is left out.

    `mean_diff`, `probe` and `gradient` have one optimum and are solved from inner products, in tens
    of milliseconds per layer. The probe keeps the C and the deviations of all examples, so this is
    the stability of its weights and not of these choices. Every other method (`ica`, a custom
    objective, an L1 probe, and `gradient` for more examples than dimensions) is rerun on every
    draw, which takes seconds per layer: measure it only at the layer that matters.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers.
        layers: Rows to measure.
        methods: Methods to measure.
        n_resamples: Number of draws.
        options: As for the extraction.
        on_layer: Called with every finished layer.

    Returns:
        One entry per layer and method, in this order.

    Raises:
        TraitvecError: If no draw has both poles.
    """
    first = layer_examples(activations, layers[0], is_positive, groups)
    counts = resampled(first.groups, n_resamples, options.seed)[1]
    usable = (counts @ first.is_positive > 0) & (counts @ ~first.is_positive > 0)
    if not usable.any():
        raise TraitvecError("bootstraps need examples of both poles; no draw of questions has them")
    # The first is the vector from all.
    counts = np.vstack([np.ones(len(first.groups)), counts[usable]])

    def measure_at(layer: int) -> list[Stability]:
        examples = layer_examples(activations, layer, is_positive, groups)
        entries = []
        for method in methods:
            cosines = _cosines(method, examples, counts, options)
            low, high = np.percentile(cosines, [2.5, 97.5])
            entries.append(
                Stability(
                    method=method,
                    layer=layer,
                    cosine=Estimate(value=float(cosines.mean()), low=float(low), high=float(high)),
                    n_resamples=len(cosines),
                )
            )
        return entries

    return [entry for entries in over_layers(measure_at, layers, on_layer) for entry in entries]


def bootstrap_auroc(
    held_out: HeldOut, *, n_resamples: int = 200, seed: int = 0
) -> list[AurocInterval]:
    """Return percentile intervals of held-out AUROC over questions drawn with replacement.

    The held-out projections are reweighted and no vector is refitted; see `score_draws`.
    `bootstrap_stability` measures how the vectors themselves vary.

    Args:
        held_out: From `hold_out`.
        n_resamples: Number of draws.
        seed: For the draws.

    Returns:
        One entry per method and layer; none without two folds, or without a fold with both poles.
    """
    intervals = []
    for (method, layer), margins in held_out.margins.items():
        aurocs = score_draws(margins, held_out, n_resamples=n_resamples, seed=seed)["auroc"]
        if np.isnan(aurocs[0]):
            continue
        intervals.append(
            AurocInterval(method=method, layer=layer, auroc=Estimate.from_draws(aurocs))
        )
    return intervals


def draw_labels(
    examples: Examples, is_scored: NDArray[np.bool_], n: int, seed: int
) -> tuple[Array, int]:
    """Return labels `[1 + n, n_examples]`, the true ones first, and how many of them can move."""
    rng = np.random.default_rng(seed)
    labels = np.tile(examples.is_positive.astype(np.float64), (1 + n, 1))
    movable = 0
    for group in np.unique(examples.groups):
        rows = np.flatnonzero(examples.groups == group)
        inside = examples.is_positive[rows]
        labels[1:, rows] = rng.permuted(labels[1:, rows], axis=1)
        if inside.any() and not inside.all():
            movable += int(is_scored[rows].sum())
    return labels, movable


def _cosines(
    method: VectorMethod, examples: Examples, counts: Array, options: MethodOptions
) -> Array:
    """Cosine of every later row's vector with that of the first row, `[len(counts) - 1]`."""
    n, hidden_dim = examples.values.shape
    target = np.tile(examples.is_positive.astype(np.float64), (len(counts), 1))
    is_default = options.gradient_objective is None
    if method == "mean_diff" or (method == "gradient" and is_default and n <= hidden_dim):
        penalty = 0.0 if method == "mean_diff" else options.gradient_penalty
        mixes = optima(examples.gram, examples.is_positive, counts, penalty)
        return _cosines_with_first(mixes, examples.gram)
    if method == "probe" and options.probe_penalty == "l2":
        scaled = standardised(examples)
        span = span_of(scaled.points)
        c, _ = choose_c(span.coordinates, examples, options.seed)
        weights, _ = fit_many(span.coordinates, target, counts, c, around=0)
        stretch = span.to_full(np.eye(span.coordinates.shape[1])) * scaled.inverse
        return _cosines_with_first(weights, stretch @ stretch.T)
    vectors = []
    for count in counts:
        rows = np.repeat(np.arange(n), count.astype(int))
        vectors.append(METHODS[method](examples.subset(rows), options).vector)
    return _cosines_with_first(np.array(vectors), None)


def _cosines_with_first(vectors: Array, gram: Array | None) -> Array:
    images = vectors if gram is None else vectors @ gram
    lengths = np.sqrt(np.maximum((images * vectors).sum(axis=1), 1e-300))
    cosines: Array = images[1:] @ vectors[0] / (lengths[1:] * lengths[0])
    return cosines


def _pairs_above(scores: Array, truth: Array) -> Array:
    """Pairs in which the positive is above the negative, ties counting half, for each row `[b]`."""
    n = scores.shape[1]
    at_once = max(1, _MAX_COMPARISONS // (n * n))
    above = np.empty(len(scores))
    for start in range(0, len(scores), at_once):
        part, positive = scores[start : start + at_once], truth[start : start + at_once]
        gaps = part[:, :, None] - part[:, None, :]
        wins = (gaps > 0) + 0.5 * (gaps == 0)
        won = np.einsum("bi,bij->bj", positive, wins, optimize=True)
        above[start : start + at_once] = (won * (1 - positive)).sum(axis=1)
    return above
