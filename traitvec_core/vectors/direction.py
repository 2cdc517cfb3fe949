"""What a method returns: a direction, and the threshold along it that separates the poles."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from traitvec_core.errors import TraitvecError
from traitvec_core.vectors.examples import Array, Examples

__all__ = ["Direction", "MethodOptions", "oriented"]


@dataclass(frozen=True)
class MethodOptions:
    """Options of the vector methods.

    Attributes:
        seed: For the methods that use random numbers.
        gradient_penalty: λ of `gradient`.
        gradient_objective: Import path `module:function` of a custom objective of `gradient`.
        probe_penalty: `l2`, or `l1` for a probe that uses few dimensions.
    """

    seed: int = 0
    gradient_penalty: float = 1.0
    gradient_objective: str | None = None
    probe_penalty: Literal["l2", "l1"] = "l2"


@dataclass(frozen=True)
class Direction:
    """A method's result for one set of examples.

    Attributes:
        vector: `[hidden_dim]`, pointing towards positive, with the length that the method gives.
        threshold: A projection on `vector` above this is called positive.
    """

    vector: Array
    threshold: float


def oriented(vector: Array, examples: Examples) -> Direction:
    """Orient a vector towards positive, with the threshold half-way between the means.

    Raises:
        TraitvecError: If the vector is zero or not finite.
    """
    if not np.isfinite(vector).all() or not vector.any():
        raise TraitvecError(
            "the two poles have the same activations, so there is no direction between them"
        )
    positive = float((examples.positive @ vector).mean())
    negative = float((examples.negative @ vector).mean())
    sign = -1.0 if positive < negative else 1.0
    return Direction(sign * vector, sign * (positive + negative) / 2)
