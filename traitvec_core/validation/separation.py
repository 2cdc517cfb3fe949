"""How well each vector separates the poles on questions that it has not seen."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, grouped_folds
from traitvec_core.vectors.extract import layer_examples, single_threaded
from traitvec_core.vectors.methods import METHODS
from traitvec_core.vectors.probe import fit_probe

__all__ = ["Separation", "SeparationScore", "measure_separation"]

N_FOLDS = 5


class SeparationScore(BaseModel):
    """Held-out figures of one method at one layer.

    Every example is scored by a vector that was extracted without any example of its question.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        accuracy: Share of held-out examples on their own side.
        auroc: Chance that a held-out positive projects above a held-out negative of its fold.
        effect_size: Distance of the held-out class means over their pooled std (Cohen's d).
    """

    method: VectorMethod
    layer: int
    accuracy: float
    auroc: float
    effect_size: float


class Separation(BaseModel):
    """Held-out separation over methods and layers.

    Attributes:
        scores: One entry for each method and layer, layer 0 (embeddings) and the `random` control
            included.
        probe_accuracy: Held-out accuracy of the probe at a layer that is chosen anew inside each
            training split, so that the choice of the best layer does not flatter it. None when
            the questions do not allow two folds.
        n_folds: Folds used; a fold never divides a question.
        n_held_out: Examples scored.
    """

    scores: list[SeparationScore]
    probe_accuracy: float | None
    n_folds: int
    n_held_out: int

    def of(self, method: str, layer: int) -> SeparationScore | None:
        """Return one entry, or None."""
        return next((s for s in self.scores if s.method == method and s.layer == layer), None)


def measure_separation(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    layers: Sequence[int],
    methods: Sequence[VectorMethod],
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> Separation:
    """Measure held-out separation with folds grouped by question.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers.
        layers: Rows to measure; 0 is always added.
        methods: Methods to measure; `probe` and `random` are always added.
        options: As for the extraction.
        on_layer: Called with every finished layer.
    """
    rows = sorted({0, *layers})
    names = tuple(dict.fromkeys([*methods, "probe", "random"]))
    first = layer_examples(activations, rows[0], is_positive, groups)
    folds = grouped_folds(first, N_FOLDS, options.seed)
    if len(folds) < 2:
        return Separation(scores=[], probe_accuracy=None, n_folds=0, n_held_out=0)
    with single_threaded():
        return _measure(
            activations, is_positive, groups, rows, layers, names, folds, options, on_layer
        )


def _measure(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    rows: Sequence[int],
    layers: Sequence[int],
    names: Sequence[VectorMethod],
    folds: Sequence[NDArray[np.bool_]],
    options: MethodOptions,
    on_layer: Callable[[int], None],
) -> Separation:
    scores: list[SeparationScore] = []
    inner_accuracy = np.full((len(folds), len(rows)), -1.0)
    probe_correct = np.zeros((len(folds), len(rows)))
    for column, layer in enumerate(rows):
        examples = layer_examples(activations, layer, is_positive, groups)
        projected: dict[VectorMethod, list[tuple[Array, NDArray[np.bool_]]]] = {
            m: [] for m in names
        }
        for fold, held_out in enumerate(folds):
            training, testing = examples.subset(~held_out), examples.subset(held_out)
            for method in names:
                if method == "probe":
                    fitted = fit_probe(training, options.seed)
                    direction = fitted.direction
                    if layer in layers and np.isfinite(fitted.inner_accuracy):
                        inner_accuracy[fold, column] = fitted.inner_accuracy
                else:
                    direction = METHODS[method](training, options)
                unit = np.linalg.norm(direction.vector)
                margin = (testing.values @ direction.vector - direction.threshold) / unit
                projected[method].append((margin, testing.is_positive))
                if method == "probe":
                    called = margin > 0
                    probe_correct[fold, column] = (called == testing.is_positive).sum()
        scores.extend(_score(method, layer, projected[method]) for method in names)
        on_layer(layer)
    n_held_out = int(sum(mask.sum() for mask in folds))
    # argmax takes the first of equals: the earliest layer, which is the harder claim.
    chosen = inner_accuracy.argmax(axis=1)
    correct = sum(probe_correct[fold, column] for fold, column in enumerate(chosen))
    return Separation(
        scores=scores,
        probe_accuracy=float(correct / n_held_out),
        n_folds=len(folds),
        n_held_out=n_held_out,
    )


def _score(
    method: VectorMethod, layer: int, folds: list[tuple[Array, NDArray[np.bool_]]]
) -> SeparationScore:
    margins = np.concatenate([margin for margin, _ in folds])
    truth = np.concatenate([positive for _, positive in folds])
    return SeparationScore(
        method=method,
        layer=layer,
        accuracy=float(((margins > 0) == truth).mean()),
        auroc=_auroc(folds),
        effect_size=_effect_size(margins, truth),
    )


def _auroc(folds: list[tuple[Array, NDArray[np.bool_]]]) -> float:
    # Pairs are compared inside a fold only: each fold has a vector, and so a scale, of its own.
    above = pairs = 0.0
    for margin, positive in folds:
        gaps = margin[positive][:, None] - margin[~positive][None, :]
        above += float((gaps > 0).sum() + 0.5 * (gaps == 0).sum())
        pairs += gaps.size
    return above / pairs if pairs else float("nan")


def _effect_size(margins: Array, truth: NDArray[np.bool_]) -> float:
    positive, negative = margins[truth], margins[~truth]
    if len(positive) < 2 or len(negative) < 2:
        return float("nan")
    squares = ((positive - positive.mean()) ** 2).sum() + ((negative - negative.mean()) ** 2).sum()
    pooled = float(np.sqrt(squares / (len(margins) - 2)))
    gap = float(positive.mean() - negative.mean())
    return gap / pooled if pooled > 0 else 0.0
