"""Examples of a crossed design: every question under every instruction pair, in both poles."""

from typing import Any, NamedTuple

import numpy as np
import torch

from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.held_out import HeldOut, Split, hold_out, split_examples


class Crossed(NamedTuple):
    """Labelled activations `[n, n_layers, d]`; row 0 stands for the embeddings."""

    activations: torch.Tensor
    is_positive: Any
    questions: Any
    pairs: Any

    @property
    def split(self) -> Split:
        """What is held out together."""
        return split_examples(self.is_positive, self.questions, self.pairs)

    def held_out(
        self, *methods: VectorMethod, layers: tuple[int, ...] = (1,), opposite: Any = None
    ) -> HeldOut:
        """Held-out projections."""
        return hold_out(
            self.activations, self.split, layers=layers, methods=methods, opposite=opposite
        )

    def rows(self, chosen: Any) -> "Crossed":
        """The examples at some rows."""
        return Crossed(
            self.activations[torch.from_numpy(np.asarray(chosen))],
            self.is_positive[chosen], self.questions[chosen], self.pairs[chosen],
        )  # fmt: skip


def crossed(
    gap: float = 0.0,
    *,
    n_questions: int = 6,
    n_pairs: int = 5,
    n_layers: int = 2,
    d: int = 20,
    seed: int = 0,
    text_sd: float = 0.0,
    answer_sd: float = 0.0,
) -> Crossed:
    """Noise of variance 1, with the poles `gap` apart along one direction of the last layer.

    Args:
        gap: Distance of the poles.
        n_questions: Questions.
        n_pairs: Instruction pairs.
        n_layers: Rows of the tensor.
        d: Dimensions.
        seed: For the noise.
        text_sd: Size of what each instruction text does by itself; nothing is common to a pole.
        answer_sd: Size of what each question does under each pole by itself.
    """
    rng = np.random.default_rng(seed)
    pole, questions, pairs = np.indices((2, n_questions, n_pairs)).reshape(3, -1)
    values = rng.standard_normal((len(pole), n_layers, d))
    values += rng.standard_normal((n_questions, n_layers, d))[questions]
    values += text_sd * rng.standard_normal((2, n_pairs, n_layers, d))[pole, pairs]
    values += answer_sd * rng.standard_normal((2, n_questions, n_layers, d))[pole, questions]
    is_positive = pole == 0
    # Spread over all dimensions: the probe standardises each, which would hide a single one.
    direction = rng.choice([-1.0, 1.0], d) / np.sqrt(d)
    values[:, -1] += np.where(is_positive, gap / 2, -gap / 2)[:, None] * direction
    return Crossed(torch.from_numpy(values), is_positive, questions, pairs)
