"""Held-out AUROC of vectors that are extracted and scored with swapped labels."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from traitvec_core.validation.held_out import Fold, Split, choice_groups
from traitvec_core.validation.labelings import Labelings
from traitvec_core.vectors.examples import Array, Examples, span_of
from traitvec_core.vectors.extract import layer_examples, over_layers
from traitvec_core.vectors.logistic import fit_many
from traitvec_core.vectors.probe import CANDIDATES, standardised

__all__ = ["permuted_scores", "rank_score"]

# Comparisons of held-out examples in memory at a time.
_MAX_COMPARISONS = 4_000_000


def permuted_scores(
    activations: torch.Tensor,
    split: Split,
    labelings: Sequence[Labelings],
    *,
    layers: Sequence[int],
    c: float = CANDIDATES[0],
    on_layer: Callable[[int], None] = lambda layer: None,
) -> list[Array]:
    """Repeat held-out extraction and scoring with swapped labels.

    Folds stay the same, and so do standardised activations, which do not depend on labels. The
    swapped labels replace the true ones in training and in scoring.

    Done for `mean_diff`, which has a closed form, and for `probe` at one fixed C, because choosing
    C again would cost 60 fits per labeling and layer. `ica` and `gradient` have no such shortcut
    and would take minutes.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        split: What was held out together.
        labelings: Sets of labels.
        layers: Rows to test.
        c: The probe's C, not chosen by these labels.
        on_layer: Called with every finished layer.

    Returns:
        For each set of labels `[n_labelings, 2 · n_layers]`: `rank_score` of both methods at every
        layer.
    """
    labels = np.vstack([each.labels for each in labelings])
    groups = choice_groups(split.questions, split.pairs)

    def permute_at(layer: int) -> Array:
        examples = layer_examples(activations, layer, split.is_positive, groups)
        won, expected, variance = np.zeros((2, len(labels))), np.zeros(len(labels)), 0.0
        for fold in split.folds:
            truth = labels[:, fold.test]
            for index, projected in enumerate(_projections(examples, fold, labels, c)):
                won[index] += _pairs_above(projected, truth)
            n, m = truth.sum(axis=1), (1 - truth).sum(axis=1)
            expected += n * m / 2
            variance = variance + n * m * (n + m + 1) / 12
        scores: Array = (won - expected) / np.sqrt(np.maximum(variance, 1e-300))
        return scores

    # [n_layers, 2, n_labelings]
    by_layer = np.array(over_layers(permute_at, layers, on_layer))
    table = by_layer.reshape(-1, len(labels)).T
    ends = np.cumsum([len(each.labels) for each in labelings])
    return np.split(table, ends[:-1])


def rank_score(margins: Array, split: Split) -> float:
    """Return how far held-out positives rank above held-out negatives of their fold.

    Mann and Whitney's U, summed over folds, minus its expectation, over its standard deviation for
    exchangeable examples. Unlike AUROC, it can be compared between labelings that have other
    numbers of positives.
    """
    won, expected, variance = 0.0, 0.0, 0.0
    for fold in split.folds:
        positive = margins[fold.test & split.is_positive]
        negative = margins[fold.test & ~split.is_positive]
        gaps = positive[:, None] - negative
        n, m = len(positive), len(negative)
        won += float(((gaps > 0) + 0.5 * (gaps == 0)).sum())
        expected += n * m / 2
        variance += n * m * (n + m + 1) / 12
    return (won - expected) / variance**0.5 if variance else 0.0


def _projections(examples: Examples, fold: Fold, labels: Array, c: float) -> tuple[Array, Array]:
    """Projections `[n_labelings, n_test]` on `mean_diff` and `probe` of each labeling."""
    training, testing = examples.subset(fold.training), examples.values[fold.test]
    moved = testing - training.values.mean(axis=0)
    # Scaled by the training split alone, like the probe.
    scaled = standardised(training)
    span = span_of(scaled.points)
    target = labels[:, fold.training]
    weights, _ = fit_many(span.coordinates, target, np.ones_like(target), c)
    # A labeling may leave one pole in a small training split; then nothing is called positive.
    shares = target / np.maximum(target.sum(axis=1, keepdims=True), 1)
    shares = shares - (1 - target) / np.maximum((1 - target).sum(axis=1, keepdims=True), 1)
    return (
        shares @ (training.centred @ moved.T),
        weights @ span.to_basis(moved * scaled.inverse).T,
    )


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
