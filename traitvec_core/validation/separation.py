"""How well each vector separates the poles on unseen questions, and how similar vectors are.

The same functions measure held-out instruction pairs, with the number of the instruction pair in
place of the question.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.held_out import HeldOut, hold_out, score_draws
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.extract import TraitVector

__all__ = [
    "Separation",
    "SeparationScore",
    "VectorCosine",
    "cosines_between_methods",
    "cosines_with_previous",
    "measure_separation",
    "score_separation",
]

N_RESAMPLES = 200


class SeparationScore(BaseModel):
    """Held-out figures of one method at one layer.

    Every example is scored by a vector that was extracted without any example of its question.
    Intervals are percentiles over questions drawn with replacement. The vectors are not refitted,
    so the intervals leave out how the vectors vary; one of a single point at 1.0 means that no draw
    contains an error.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        accuracy: Share of held-out examples on their own side.
        auroc: Chance that a held-out positive projects above a held-out negative of its fold.
        effect_size: Distance of the held-out class means over their pooled std (Cohen's d).
        separation: That distance itself, in activation units.
        train_accuracy: Accuracy on the examples that each fold's vector was extracted from. It is
            1.0 for any labels when there are more dimensions than examples; None where it was not
            measured.
    """

    method: VectorMethod
    layer: int
    accuracy: Estimate
    auroc: Estimate
    effect_size: Estimate
    separation: Estimate = Estimate()
    train_accuracy: float | None = None


class Separation(BaseModel):
    """Held-out separation over methods and layers.

    Attributes:
        scores: One entry for each method and layer, layer 0 (embeddings) and the `random` control
            included.
        probe_accuracy: Held-out accuracy of the probe at a layer that is chosen inside each
            training split, so that choosing the best layer does not inflate it. Without a value
            when the questions do not allow two folds.
        n_folds: Folds used; a fold never divides a question.
        n_held_out: Examples scored.
    """

    scores: list[SeparationScore]
    probe_accuracy: Estimate
    n_folds: int
    n_held_out: int

    def of(self, method: str, layer: int) -> SeparationScore | None:
        """Return one entry, or None."""
        return next((s for s in self.scores if s.method == method and s.layer == layer), None)


class VectorCosine(BaseModel):
    """Cosine of two vectors of one layer.

    Attributes:
        method: The method of the first.
        layer: Row of the activation tensor.
        other: The method of the second, or `previous`: the vector of the same method from the last
            materialization.
        cosine: From −1 to 1, and 0 if one of them is zero; unrelated directions are within
            about ±2/√hidden_dim of 0.
    """

    method: VectorMethod
    layer: int
    other: VectorMethod | str
    cosine: float


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
    """Measure held-out separation with folds grouped by question, or by instruction pair.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the question that each example answers; or the number of its
            instruction pair, to measure the vectors on unseen wordings.
        layers: Rows to measure; 0 is always added.
        methods: Methods to measure; `probe` and `random` are always added.
        options: As for the extraction.
        on_layer: Called with every finished layer.
    """
    held_out = hold_out(
        activations, is_positive, groups, layers=layers, methods=methods, options=options,
        on_layer=on_layer,
    )  # fmt: skip
    return score_separation(held_out, options.seed)


def score_separation(held_out: HeldOut, seed: int = 0) -> Separation:
    """Compute figures and intervals from held-out projections.

    Args:
        held_out: From `hold_out`.
        seed: For the draws of the intervals.
    """
    if not held_out.folds:
        return Separation(scores=[], probe_accuracy=Estimate(), n_folds=0, n_held_out=0)
    scores = []
    for (method, layer), margins in held_out.margins.items():
        draws = score_draws(margins, held_out, n_resamples=N_RESAMPLES, seed=seed)
        scores.append(
            SeparationScore(
                method=method,
                layer=layer,
                accuracy=Estimate.from_draws(draws["accuracy"]),
                auroc=Estimate.from_draws(draws["auroc"]),
                effect_size=Estimate.from_draws(draws["effect_size"]),
                separation=Estimate.from_draws(draws["separation"]),
                train_accuracy=held_out.train_accuracies[method, layer],
            )
        )
    probe = score_draws(held_out.probe_margins, held_out, n_resamples=N_RESAMPLES, seed=seed)
    return Separation(
        scores=scores,
        probe_accuracy=Estimate.from_draws(probe["accuracy"]),
        n_folds=len(held_out.folds),
        n_held_out=int(held_out.is_scored.sum()),
    )


def cosines_between_methods(vectors: Sequence[TraitVector]) -> list[VectorCosine]:
    """Return the cosine of every two methods' vectors at every layer, each pair once."""
    return [
        VectorCosine(method=one.method, layer=one.layer, other=two.method,
                     cosine=_cosine(one.vector, two.vector))
        for index, one in enumerate(vectors)
        for two in vectors[index + 1 :]
        if one.layer == two.layer
    ]  # fmt: skip


def cosines_with_previous(
    vectors: Sequence[TraitVector],
    previous: Mapping[tuple[VectorMethod, int], torch.Tensor],
) -> list[VectorCosine]:
    """Return the cosine of every vector with the one that it replaces.

    Args:
        vectors: The new vectors.
        previous: The old ones `[hidden_dim]`, by method and layer. Those of another size belong to
            another model and are skipped.
    """
    return [
        VectorCosine(method=vector.method, layer=vector.layer, other="previous",
                     cosine=_cosine(vector.vector, old))
        for vector in vectors
        if (old := previous.get((vector.method, vector.layer))) is not None
        and old.shape == vector.vector.shape
    ]  # fmt: skip


def _cosine(one: torch.Tensor, two: torch.Tensor) -> float:
    first, second = one.double(), two.double()
    lengths = float(first.norm() * second.norm())
    return float(first @ second) / lengths if lengths > 0 else 0.0
