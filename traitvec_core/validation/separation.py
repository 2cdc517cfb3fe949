"""How well each vector separates the poles on questions that it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, grouped_folds
from traitvec_core.vectors.extract import layer_examples, over_layers
from traitvec_core.vectors.ica import ica_of_each
from traitvec_core.vectors.methods import METHODS
from traitvec_core.vectors.probe import fit_probe

__all__ = ["HeldOut", "Separation", "SeparationScore", "hold_out", "measure_separation"]

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


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out projections of every method at every layer.

    Attributes:
        layers: Rows of the activation tensor.
        folds: The held-out mask `[n_examples]` of each fold; none where the questions do not
            allow two.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers.
        margins: For each method and layer `[n_examples]`: the distance to the threshold along the
            vector that was extracted without the example's fold; NaN outside every fold.
        inner_accuracy: `[n_folds, n_layers]`: the probe's accuracy inside each training split; −1
            at a layer that was not asked for.
    """

    layers: list[int]
    folds: list[NDArray[np.bool_]]
    is_positive: NDArray[np.bool_]
    groups: NDArray[np.int64]
    margins: dict[tuple[VectorMethod, int], Array]
    inner_accuracy: Array


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
    held_out = hold_out(
        activations, is_positive, groups, layers=layers, methods=methods, options=options,
        on_layer=on_layer,
    )  # fmt: skip
    if not held_out.folds:
        return Separation(scores=[], probe_accuracy=None, n_folds=0, n_held_out=0)
    n_held_out = int(sum(mask.sum() for mask in held_out.folds))
    # argmax takes the first of equals: the earliest layer, which is the harder claim.
    chosen = held_out.inner_accuracy.argmax(axis=1)
    correct = 0
    for mask, column in zip(held_out.folds, chosen, strict=True):
        called = held_out.margins["probe", held_out.layers[column]][mask] > 0
        correct += int((called == held_out.is_positive[mask]).sum())
    return Separation(
        scores=[_score(method, layer, held_out) for method, layer in held_out.margins],
        probe_accuracy=correct / n_held_out,
        n_folds=len(held_out.folds),
        n_held_out=n_held_out,
    )


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
    """Project every example on vectors that were extracted without its question.

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
        return HeldOut(rows, [], first.is_positive, first.groups, {}, np.zeros((0, len(rows))))

    def hold_out_at(layer: int) -> tuple[dict[VectorMethod, Array], Array]:
        examples = layer_examples(activations, layer, is_positive, groups)
        if examples.values.shape[0] <= examples.values.shape[1]:
            # Known once, every fold takes its part of it.
            _ = examples.gram
        margins = {name: np.full(len(groups), np.nan) for name in names}
        inner = np.full(len(folds), -1.0)
        trainings = [examples.subset(~mask) for mask in folds]
        for method in names:
            if method == "probe":
                fits = [fit_probe(training, options) for training in trainings]
                directions = [fit.direction for fit in fits]
                if layer in layers:
                    accuracies = np.array([fit.inner_accuracy for fit in fits])
                    inner = np.where(np.isfinite(accuracies), accuracies, -1.0)
            elif method == "ica":
                directions = ica_of_each(trainings, options)
            else:
                directions = [METHODS[method](training, options) for training in trainings]
            for mask, found in zip(folds, directions, strict=True):
                length = np.linalg.norm(found.vector)
                margins[method][mask] = (
                    examples.values[mask] @ found.vector - found.threshold
                ) / length
        return margins, inner

    measured = over_layers(hold_out_at, rows, on_layer)
    return HeldOut(
        layers=rows,
        folds=folds,
        is_positive=first.is_positive,
        groups=first.groups,
        margins={
            (method, layer): margins[method]
            for layer, (margins, _) in zip(rows, measured, strict=True)
            for method in names
        },
        inner_accuracy=np.stack([inner for _, inner in measured], axis=1),
    )


def _score(method: VectorMethod, layer: int, held_out: HeldOut) -> SeparationScore:
    pairs = [
        (held_out.margins[method, layer][mask], held_out.is_positive[mask])
        for mask in held_out.folds
    ]
    margins = np.concatenate([margin for margin, _ in pairs])
    truth = np.concatenate([positive for _, positive in pairs])
    return SeparationScore(
        method=method,
        layer=layer,
        accuracy=float(((margins > 0) == truth).mean()),
        auroc=_auroc(pairs),
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
