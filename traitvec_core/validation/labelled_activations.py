"""Activations of both poles of a trait, with what is known of each row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["LabelledActivations"]


@dataclass(frozen=True, eq=False)
class LabelledActivations:
    """Activations of both poles of a trait. What is not known is None, and is not tested.

    Attributes:
        trait: The trait.
        model: The model that they were captured from.
        values: `[n_examples, n_layers, hidden_dim]`; layer k is the residual stream after decoder
            block k, layer 0 the embedding output.
        is_positive: bool `[n_examples]`.
        questions: int `[n_examples]`: the number of the question that each example answers. In
            held-out figures, no question is on both sides of a split.
        instructions: int `[n_examples]`: the number of the instruction pair that each example was
            made with.
        responses: `[n_examples]`: the texts of the responses, needed to test whether length, words
            or refusing explain the vector.
        opposite: The same responses read after the opposite instruction of their pair, shaped like
            `values`.
    """

    trait: str
    model: str
    values: torch.Tensor
    is_positive: NDArray[np.bool_]
    questions: NDArray[np.int64]
    instructions: NDArray[np.int64] | None = None
    responses: Sequence[str] | None = None
    opposite: torch.Tensor | None = None

    @property
    def layers(self) -> list[int]:
        """The layers after decoder blocks: 1…N."""
        return list(range(1, self.values.shape[1]))
