"""Extract vectors at every layer with every method, scaled to the requested length."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import VectorMethod
from traitvec_core.vectors.direction import Direction, MethodOptions
from traitvec_core.vectors.examples import Examples
from traitvec_core.vectors.methods import METHODS

__all__ = [
    "TraitVector",
    "extract_vectors",
    "layer_examples",
    "over_layers",
    "training_accuracy",
]

T = TypeVar("T")


@dataclass(frozen=True)
class TraitVector:
    """One trait vector.

    Attributes:
        method: The method that found the direction.
        layer: Row of the activation tensor.
        vector: float32 `[hidden_dim]`, pointing towards positive.
        vector_norm: Its length, in activation units when the scale is `separation`.
        raw_norm: Its length before scaling.
        relative_norm: `vector_norm` over the mean activation norm of this layer.
        separation: (mean positive − mean negative) along the direction, in activation units.
        train_accuracy: Balanced share of the examples on their own side; 1.0 is meaningless when
            there are more dimensions than examples.
    """

    method: VectorMethod
    layer: int
    vector: torch.Tensor
    vector_norm: float
    raw_norm: float
    relative_norm: float
    separation: float
    train_accuracy: float


def layer_examples(
    activations: torch.Tensor,
    layer: int,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
) -> Examples:
    """Return the examples of one row of `[n_examples, n_layers, hidden_dim]`, in float64."""
    values = activations[:, layer].cpu().double().numpy()
    return Examples(values, np.asarray(is_positive, bool), np.asarray(groups, np.int64))


def extract_vectors(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    layers: Sequence[int],
    methods: Sequence[VectorMethod],
    scale: str = "separation",
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> list[TraitVector]:
    """Extract every method's vector at every layer.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: bool `[n_examples]`.
        groups: int `[n_examples]`: what the probe holds out together when it chooses its C: the
            instruction pair, or the question where there are fewer than three pairs.
        layers: Rows to extract from; 0 is the embedding output.
        methods: Names from `METHODS`.
        scale: `separation`, `raw` or `unit`.
        options: See `MethodOptions`.
        on_layer: Called with every finished layer.

    Raises:
        TraitvecError: If a layer does not exist, values are not finite, a pole is empty, or the
            poles do not differ.
    """
    n_layers = activations.shape[1]
    missing = [layer for layer in layers if not 0 <= layer < n_layers]
    if missing:
        raise TraitvecError(
            f"layers {missing} do not exist: this model has rows 0 (embeddings) to {n_layers - 1}"
        )
    if not torch.isfinite(activations).all():
        raise TraitvecError("activations contain NaN or infinity; capture them again")
    chosen = np.asarray(is_positive, bool)
    if not chosen.any() or chosen.all():
        raise TraitvecError("a direction needs examples of both poles, one pole is empty")

    def extract_layer(layer: int) -> list[TraitVector]:
        examples = layer_examples(activations, layer, chosen, groups)
        mean_norm = float(np.linalg.norm(examples.values, axis=1).mean())
        # Rounding leaves a small difference, in which some methods would find a direction.
        if np.linalg.norm(examples.gap) <= 1e-12 * mean_norm:
            raise TraitvecError(
                f"layer {layer}: the two poles have the same mean activation, so there is no"
                " direction between them"
            )
        return [
            _scaled(method, layer, METHODS[method](examples, options), examples, scale, mean_norm)
            for method in methods
        ]

    by_layer = over_layers(extract_layer, layers, on_layer)
    return [vector for vectors in by_layer for vector in vectors]


def over_layers(
    work: Callable[[int], T],
    layers: Sequence[int],
    on_layer: Callable[[int], None] = lambda layer: None,
) -> list[T]:
    """Do the same work at every layer, several layers at a time, one thread per layer.

    The problems inside are many and small (a few hundred rows): threads within each would cost more
    than they save, and ten times more on a busy machine. No result depends on the number of
    threads, which is torch's (`OMP_NUM_THREADS`).

    Args:
        work: The work at one layer.
        layers: Rows of the activation tensor.
        on_layer: Called in this thread with every finished layer, in order.
    """
    threads = torch.get_num_threads()
    results = []
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            if threads == 1:
                for layer in layers:
                    results.append(work(layer))
                    on_layer(layer)
                return results
            # OpenMP keeps a separate number of threads per calling thread.
            pool = ThreadPoolExecutor(threads, "layers", lambda: torch.set_num_threads(1))
            try:
                for layer, result in zip(layers, pool.map(work, layers), strict=True):
                    results.append(result)
                    on_layer(layer)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(threads)
    return results


def training_accuracy(direction: Direction, examples: Examples) -> float:
    """Return the share of the examples on their side of the threshold: the mean over the poles."""
    called = examples.values @ direction.vector > direction.threshold
    return float(
        (called[examples.is_positive].mean() + 1 - called[~examples.is_positive].mean()) / 2
    )


def _scaled(
    method: VectorMethod,
    layer: int,
    direction: Direction,
    examples: Examples,
    scale: str,
    mean_norm: float,
) -> TraitVector:
    raw_norm = float(np.linalg.norm(direction.vector))
    unit = direction.vector / raw_norm
    separation = float((examples.positive @ unit).mean() - (examples.negative @ unit).mean())
    if scale == "separation" and separation <= 1e-12 * mean_norm:
        raise TraitvecError(
            f"layer {layer}: along {method} the poles have the same mean, so it cannot be scaled to"
            " their separation; leave the method out, or set scale: raw"
        )
    length = {"separation": separation, "raw": raw_norm, "unit": 1.0}[scale]
    return TraitVector(
        method=method,
        layer=layer,
        vector=torch.from_numpy(unit * length).float(),
        vector_norm=length,
        raw_norm=raw_norm,
        relative_norm=length / mean_norm if mean_norm > 0 else 0.0,
        separation=separation,
        train_accuracy=training_accuracy(direction, examples),
    )
