"""What a method returns: a direction, and where along it the poles part."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from traitvec_core.errors import TraitvecError
from traitvec_core.vectors.examples import Array, Examples

__all__ = ["Direction", "MethodOptions", "oriented"]


@dataclass(frozen=True)
class MethodOptions:
    """What methods can be told.

    Attributes:
        seed: For the methods that draw numbers.
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
    """A method's answer for one set of examples.

    Attributes:
        vector: `[hidden_dim]`, pointing towards positive, with the method's own length.
        threshold: A projection on `vector` above this is called positive.
    """

    vector: Array
    threshold: float


def oriented(vector: Array, examples: Examples) -> Direction:
    """Point a vector towards positive, and part the poles half-way between their means.

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
