"""Projections on vectors that were extracted without the example's question, or instruction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.experiment import VectorMethod
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, Examples, grouped_folds
from traitvec_core.vectors.extract import layer_examples, over_layers, training_accuracy
from traitvec_core.vectors.ica import ica_of_each
from traitvec_core.vectors.methods import METHODS
from traitvec_core.vectors.probe import fit_probe

__all__ = [
    "N_FOLDS",
    "HeldOut",
    "ScoreName",
    "Split",
    "hold_out",
    "resampled",
    "score_draws",
    "split_groups",
]

ScoreName = Literal["accuracy", "balanced_accuracy", "auroc", "effect_size", "separation"]


N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Split:
    """Which examples are held out together.

    Attributes:
        folds: The held-out mask `[n_examples]` of each fold; empty where the groups do not allow
            two.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the number of each example's question, or of its instruction pair.
            A fold never divides a group.
    """

    folds: list[NDArray[np.bool_]]
    is_positive: NDArray[np.bool_]
    groups: NDArray[np.int64]

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """Whether each example is in a fold, `[n_examples]`."""
        scored: NDArray[np.bool_] = np.any([np.zeros(len(self.groups), bool), *self.folds], axis=0)
        return scored


@dataclass(frozen=True, eq=False)
class HeldOut(Split):
    """Held-out projections of every method at every layer.

    Attributes:
        layers: Rows of the activation tensor.
        margins: For each method and layer `[n_examples]`: the distance to the threshold along the
            vector that was extracted without the example's fold; NaN outside every fold.
        train_accuracies: For each method and layer, the accuracy on the examples that each fold's
            vector was extracted from, averaged over folds.
        inner_accuracy: `[n_folds, n_layers]`: the probe's accuracy inside each training split; −1
            at a layer that was not requested.
    """

    layers: list[int]
    margins: dict[tuple[VectorMethod, int], Array]
    train_accuracies: dict[tuple[VectorMethod, int], float]
    inner_accuracy: Array

    @property
    def probe_margins(self) -> Array:
        """The probe's margins `[n_examples]`, at a layer chosen inside each training split."""
        margins = np.full(len(self.groups), np.nan)
        # argmax takes the first of equals: the earliest layer, which is the stronger claim.
        chosen = self.inner_accuracy.argmax(axis=1)
        for mask, column in zip(self.folds, chosen, strict=True):
            margins[mask] = self.margins["probe", self.layers[column]][mask]
        return margins


def hold_out(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    layers: Sequence[int],
    methods: Sequence[VectorMethod],
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> HeldOut:
    """Project every example on vectors that were extracted without its group.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers; or, to hold out entire
            instruction pairs, the number of its pair.
        layers: Rows to measure; 0 is always added.
        methods: Methods to measure; `probe` and `random` are always added.
        options: As for the extraction.
        on_layer: Called with every finished layer.
    """
    rows = sorted({0, *layers})
    names = tuple(dict.fromkeys([*methods, "probe", "random"]))
    split = split_groups(is_positive, groups, options.seed)
    folds = split.folds
    if not folds:
        return HeldOut(**vars(split), layers=rows, margins={}, train_accuracies={},
                       inner_accuracy=np.zeros((0, len(rows))))  # fmt: skip

    def hold_out_at(
        layer: int,
    ) -> tuple[dict[VectorMethod, Array], dict[VectorMethod, float], Array]:
        examples = layer_examples(activations, layer, is_positive, groups)
        if examples.values.shape[0] <= examples.values.shape[1]:
            # Computed once here; every fold takes its part.
            _ = examples.gram
        margins = {name: np.full(len(groups), np.nan) for name in names}
        accuracies = {}
        inner = np.full(len(folds), -1.0)
        trainings = [examples.subset(~mask) for mask in folds]
        if layer not in layers and not all(map(_has_gap, trainings)):
            # At the last token of a prompt all embeddings are the same: no separation.
            nothing = np.where(split.is_scored, 0.0, np.nan)
            return dict.fromkeys(names, nothing), dict.fromkeys(names, 0.5), inner
        for method in names:
            if method == "probe":
                fits = [fit_probe(training, options) for training in trainings]
                directions = [fit.direction for fit in fits]
                if layer in layers:
                    accuracy = np.array([fit.inner_accuracy for fit in fits])
                    inner = np.where(np.isfinite(accuracy), accuracy, -1.0)
            elif method == "ica":
                directions = ica_of_each(trainings, options)
            else:
                directions = [METHODS[method](training, options) for training in trainings]
            accuracies[method] = float(
                np.mean([
                    training_accuracy(direction, training)
                    for direction, training in zip(directions, trainings, strict=True)
                ])
            )  # fmt: skip
            for mask, direction in zip(folds, directions, strict=True):
                length = np.linalg.norm(direction.vector)
                margins[method][mask] = (
                    examples.values[mask] @ direction.vector - direction.threshold
                ) / length
        return margins, accuracies, inner

    measured = list(zip(rows, over_layers(hold_out_at, rows, on_layer), strict=True))
    return HeldOut(
        **vars(split),
        layers=rows,
        margins={(name, row): margins[name] for row, (margins, _, _) in measured for name in names},
        train_accuracies={
            (name, row): accuracies[name] for row, (_, accuracies, _) in measured for name in names
        },
        inner_accuracy=np.stack([inner for _, (_, _, inner) in measured], axis=1),
    )


def split_groups(is_positive: NDArray[np.bool_], groups: NDArray[np.int64], seed: int = 0) -> Split:
    """Assign groups to folds; vectors, permutations and baselines all use these folds.

    Args:
        is_positive: `[n_examples]`.
        groups: `[n_examples]`.
        seed: For the order in which groups are assigned.
    """
    labels, names = np.asarray(is_positive, bool), np.asarray(groups, np.int64)
    folds = grouped_folds(Examples(np.zeros((len(names), 0)), labels, names), N_FOLDS, seed)
    return Split(folds if len(folds) > 1 else [], labels, names)


def score_draws(
    margins: Array, split: Split, *, n_resamples: int = 200, seed: int = 0
) -> dict[ScoreName, Array]:
    """Compute held-out figures of one classifier over groups (questions) drawn with replacement.

    The draws depend on the seed and the groups alone, so two classifiers on one split can be
    compared draw by draw. Nothing is refitted, because a group that is drawn twice would be on both
    sides of a split. The figures therefore show the variance of the test questions, not that of the
    vectors.

    Args:
        margins: `[n_examples]`: above 0 is called positive. The scale may differ between folds, not
            within one.
        split: What was held out together.
        n_resamples: Number of draws.
        seed: For the draws.

    Returns:
        `[1 + n_resamples]` for each figure, the first with every group once; NaN where a draw lacks
        what the figure needs. `SeparationScore` defines the figures; balanced accuracy is the mean
        of the two poles' accuracies, 0.5 by chance however uneven the poles are.
    """
    names, _ = resampled(split.groups, n_resamples, seed)
    drawn = np.vstack([np.ones(names.shape[1]), names])
    owner = np.unique(split.groups, return_inverse=True)[1]
    poles = []
    for pole in (split.is_positive, ~split.is_positive):
        chosen = split.is_scored & pole
        values = margins[chosen]
        centre = values.mean() if len(values) else 0.0
        right = (values > 0) == split.is_positive[chosen]
        # Sums over each group first: count, right ones, distances and squares.
        sums = [
            np.bincount(owner[chosen], column, minlength=drawn.shape[1])
            for column in (np.ones(len(values)), right, values - centre, (values - centre) ** 2)
        ]
        n, n_right, distance, squares = (drawn @ np.array(sums).T).T
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
            "accuracy": (n_right + m_right) / (n + m),
            "balanced_accuracy": (n_right / n + m_right / m) / 2,
            "auroc": _drawn_aurocs(margins, split, drawn[:, owner]),
            "effect_size": effect,
            "separation": gap,
        }


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


def _has_gap(examples: Examples) -> bool:
    """Whether the poles differ by more than rounding."""
    return bool(np.linalg.norm(examples.gap) > 1e-12 * np.abs(examples.values).max())


def _drawn_aurocs(margins: Array, split: Split, counts: Array) -> Array:
    # Pairs are compared within a fold only: each fold has its own vector, and so its own scale.
    above = pairs = np.zeros(len(counts))
    for mask in split.folds:
        positive = np.flatnonzero(mask & split.is_positive)
        negative = np.flatnonzero(mask & ~split.is_positive)
        gaps = margins[positive][:, None] - margins[negative]
        left, right = counts[:, positive], counts[:, negative]
        above = above + ((left @ ((gaps > 0) + 0.5 * (gaps == 0))) * right).sum(axis=1)
        pairs = pairs + left.sum(axis=1) * right.sum(axis=1)
    # A draw may leave no fold with both poles.
    aurocs: Array = above / pairs
    return aurocs
