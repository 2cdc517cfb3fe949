"""Everything that is measured on one vector: what else explains it, how stable it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.explanations import Explanations, measure_explanations
from traitvec_core.validation.held_out import HeldOut, Split, hold_out
from traitvec_core.validation.stability import Stability, measure_stability
from traitvec_core.vectors.direction import MethodOptions

__all__ = ["HeldOutProjections", "LabelledExamples", "VectorEvidence", "measure_evidence"]


class HeldOutProjections(BaseModel):
    """Held-out projections on one vector, in the order of the activations.

    Attributes:
        method: The vector's method.
        layer: Its layer.
        margins: Distance to the threshold along the vector; None where nothing was held out.
    """

    method: VectorMethod
    layer: int
    margins: list[float | None]


class VectorEvidence(BaseModel):
    """What is measured on one vector.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        projections: Held-out projections on it.
        explanations: What else could explain it; None where the responses' texts are not known.
        stability: How much it depends on the questions and instruction pairs at hand.
    """

    method: VectorMethod
    layer: int
    projections: HeldOutProjections
    explanations: Explanations | None
    stability: Stability


@dataclass(frozen=True, eq=False)
class LabelledExamples:
    """Activations of both poles, and what is known about each row.

    Attributes:
        activations: `[n_examples, n_layers, hidden_dim]`.
        split: Poles, questions and instruction pairs, and what is held out together.
        responses: The texts behind the rows; None if they are not known.
        is_refusal: Whether each response refuses to answer; None if that is not known.
        opposite: The same responses, read after the opposite instruction of their pair; None if
            that was not captured.
    """

    activations: torch.Tensor
    split: Split
    responses: Sequence[str] | None = None
    is_refusal: Sequence[bool] | None = None
    opposite: torch.Tensor | None = None


def measure_evidence(
    examples: LabelledExamples,
    method: VectorMethod,
    layer: int,
    *,
    held_out: HeldOut | None = None,
    options: MethodOptions = MethodOptions(),
) -> VectorEvidence | None:
    """Measure what else could explain a vector, and its stability.

    Args:
        examples: The examples that the vector was extracted from.
        method: Its method.
        layer: Its row.
        held_out: Held-out projections that include it; measured if not given.
        options: As for the extraction.

    Returns:
        The measurements; None where nothing can be held out.
    """
    split = examples.split
    if not split.folds:
        return None
    if held_out is None:
        held_out = hold_out(
            examples.activations, split, layers=[layer], methods=[method],
            opposite=examples.opposite, options=options,
        )  # fmt: skip
    explanations = None
    if examples.responses is not None:
        explanations = measure_explanations(
            examples.activations, held_out, method=method, layer=layer,
            # Characters: tokens end at their limit, and count thinking.
            responses=examples.responses, n_tokens=[len(text) for text in examples.responses],
            is_refusal=examples.is_refusal, options=options,
        )  # fmt: skip
    return VectorEvidence(
        method=method,
        layer=layer,
        projections=HeldOutProjections(
            method=method,
            layer=layer,
            margins=[
                float(margin) if np.isfinite(margin) else None
                for margin in held_out.margins[method, layer]
            ],
        ),
        explanations=explanations,
        stability=measure_stability(
            examples.activations, split, method=method, layer=layer, options=options
        ),
    )
