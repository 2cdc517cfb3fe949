"""The norm that a vector would have if its labels meant nothing."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.held_out import choice_groups
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, Examples
from traitvec_core.vectors.extract import TraitVector, layer_examples, over_layers
from traitvec_core.vectors.methods import METHODS

__all__ = ["chance_norms"]

_N_LABELINGS = 127
# Methods that have to be run again are run for the labelings next to the median.
_N_RERUNS = 5


def chance_norms(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    questions: NDArray[np.int64],
    pairs: NDArray[np.int64] | None,
    vectors: Sequence[TraitVector],
    *,
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> dict[tuple[VectorMethod, int], float]:
    """Return the median norm of each vector under swapped labels.

    The poles of entire instruction pairs are swapped (of questions, where there are no pairs), and
    the vector is extracted again. What is compared is the distance of the poles along the vector,
    which is its norm with `scale: separation`; for other scales the norm is scaled by it.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        questions: `[n_examples]`.
        pairs: `[n_examples]`; None where there are none.
        vectors: The vectors, as extracted with the true labels.
        options: As for the extraction.
        on_layer: Called with every finished layer.

    Returns:
        By method and layer; nothing where labels cannot be swapped.
    """
    swapped = questions if pairs is None else pairs
    labels = swap_poles(is_positive, swapped, _N_LABELINGS, options.seed).labels[1:]
    layers = sorted({vector.layer for vector in vectors})
    if not len(labels):
        return {}
    groups = choice_groups(questions, pairs)

    def measure(layer: int) -> dict[tuple[VectorMethod, int], float]:
        examples = layer_examples(activations, layer, is_positive, groups)
        # Known before examples are relabelled, so that it is computed once.
        _ = examples.reduced
        gaps = _gap_norms(examples, labels)
        order = np.argsort(gaps)
        start = max((len(order) - _N_RERUNS) // 2, 0)
        middle = labels[order[start : start + _N_RERUNS]] > 0.5
        norms: dict[tuple[VectorMethod, int], float] = {}
        for vector in vectors:
            if vector.layer != layer or vector.separation <= 0:
                continue
            if vector.method == "mean_diff":
                median = float(np.median(gaps))
            else:
                distances = [_distance(vector.method, examples, each, options) for each in middle]
                median = float(np.median(distances))
            norms[vector.method, layer] = vector.vector_norm * median / vector.separation
        return norms

    norms: dict[tuple[VectorMethod, int], float] = {}
    for each in over_layers(measure, layers, on_layer):
        norms |= each
    return norms


def _gap_norms(examples: Examples, labels: Array) -> Array:
    """The norm of the mean difference under each labeling, `[n_labelings]`."""
    mix = labels / labels.sum(axis=1, keepdims=True)
    mix = mix - (1 - labels) / (1 - labels).sum(axis=1, keepdims=True)
    squares = ((mix @ examples.gram) * mix).sum(axis=1)
    norms: Array = np.sqrt(np.maximum(squares, 0.0))
    return norms


def _distance(
    method: VectorMethod, examples: Examples, labels: NDArray[np.bool_], options: MethodOptions
) -> float:
    swapped = examples.relabelled(labels)
    direction = METHODS[method](swapped, options).vector
    length = float(np.linalg.norm(direction))
    return float(swapped.gap @ direction) / length if length > 0 else 0.0
