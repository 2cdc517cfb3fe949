"""Cosines of two elicitations' vectors by layer, with the cosines that meaningless labels give."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.extract import over_layers

__all__ = ["LayerCosine", "cosines_by_layer"]

_N_DRAWN = 255
# Those in which the trait cancels best.
_N_KEPT = 64


class LayerCosine(BaseModel):
    """Cosine of both elicitations' vectors of one method at one layer.

    Attributes:
        method: The method.
        layer: Row of the activation tensor.
        cosine: Of the two vectors.
        chance: What 95% of the cosines stay below, in size, if the labels of one elicitation mean
            nothing: the poles of about half of its pairs are swapped, so that its trait cancels.
            Only of `mean_diff`; None where nothing can be swapped.
    """

    method: VectorMethod
    layer: int
    cosine: float
    chance: float | None = None

    @property
    def is_by_chance(self) -> bool:
        """Whether meaningless labels give such a cosine; False where that is not known."""
        return self.chance is not None and self.cosine <= self.chance


def cosines_by_layer(
    own: LabelledExamples,
    second: LabelledExamples,
    own_vectors: Mapping[tuple[VectorMethod, int], torch.Tensor],
    second_vectors: Mapping[tuple[VectorMethod, int], torch.Tensor],
    *,
    layers: Iterable[int] = (),
    seed: int = 0,
) -> list[LayerCosine]:
    """Return the cosines of all vectors that both have, and of mean differences at their layers.

    Args:
        own: One elicitation's examples.
        second: The other's.
        own_vectors: `[hidden_dim]` by method and layer.
        second_vectors: The other's.
        layers: Layers whose mean differences are compared in any case.
        seed: For the labelings.
    """
    places = [place for place in own_vectors if place in second_vectors]
    labels = _cancelling_labels(own, seed), _cancelling_labels(second, seed)

    def rows_at(layer: int) -> list[LayerCosine]:
        points = [each.activations[:, layer].double().numpy() for each in (own, second)]
        gaps = [
            _mean_differences(values, np.asarray(each.split.is_positive, float)[None])[0]
            for values, each in zip(points, (own, second), strict=True)
        ]
        swapped = [
            np.abs(_cosines(_mean_differences(values, of_labels), gap))
            for values, of_labels, gap in zip(points, labels, reversed(gaps), strict=True)
            if len(of_labels)
        ]
        chance = float(np.quantile(np.concatenate(swapped), 0.95)) if swapped else None
        cosine = float(_cosines(gaps[0][None], gaps[1])[0])
        rows = [LayerCosine(method="mean_diff", layer=layer, cosine=cosine, chance=chance)]
        for method, at in places:
            if at == layer and method != "mean_diff":
                pair = [each[method, at].double().numpy() for each in (own_vectors, second_vectors)]
                cosine = float(_cosines(pair[0][None], pair[1])[0])
                rows.append(LayerCosine(method=method, layer=layer, cosine=cosine))
        return rows

    by_layer = over_layers(rows_at, sorted({*layers, *(layer for _, layer in places)}))
    return [row for rows in by_layer for row in rows]


def _cancelling_labels(examples: LabelledExamples, seed: int) -> Array:
    """Labelings `[n, n_examples]` that agree with the true one on about half of the examples."""
    split = examples.split
    groups = split.questions if split.crossed_pairs is None else split.crossed_pairs
    labels = swap_poles(split.is_positive, groups, _N_DRAWN, seed).labels
    agreement = (labels[1:] == labels[0]).mean(axis=1)
    chosen: Array = labels[1:][np.argsort(np.abs(agreement - 0.5), kind="stable")[:_N_KEPT]]
    return chosen


def _mean_differences(values: Array, labels: Array) -> Array:
    """`[n_labelings, hidden_dim]`; a labeling without one of the poles gives zeros."""
    ones, others = labels.sum(axis=1, keepdims=True), (1 - labels).sum(axis=1, keepdims=True)
    mix = labels / np.maximum(ones, 1) - (1 - labels) / np.maximum(others, 1)
    differences: Array = (mix @ values) * ((ones > 0) & (others > 0))
    return differences


def _cosines(rows: Array, other: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(other)
    cosines: Array = np.divide(rows @ other, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return cosines
