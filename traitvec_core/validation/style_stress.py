"""Does a vector still separate held-out responses when only their style has changed?"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import BaseModel

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import Fold, Split, held_out_margins
from traitvec_core.validation.separation import estimates_of
from traitvec_core.vectors.direction import MethodOptions

__all__ = ["StyleStress", "measure_style_stress"]


class StyleStress(BaseModel):
    """Held-out figures of one vector on the same responses, before and after a change of style.

    Attributes:
        style: The change, one of `restyling.STYLES`.
        n: Responses.
        accuracy: Balanced accuracy before and after, at the threshold from unchanged responses.
        auroc: AUROC before and after.
    """

    style: str
    n: int
    accuracy: tuple[Estimate, Estimate]
    auroc: tuple[Estimate, Estimate]


def measure_style_stress(
    examples: LabelledExamples,
    rows: Sequence[int],
    restyled: Mapping[str, torch.Tensor],
    method: VectorMethod,
    layer: int,
    *,
    options: MethodOptions = MethodOptions(),
) -> list[StyleStress]:
    """Measure how held-out figures change with the style.

    Vectors are extracted from unchanged responses alone, and never from the question or instruction
    pair of what they are tested on.

    Args:
        examples: The examples that the vector was extracted from.
        rows: Those that were read again.
        restyled: `[len(rows), n_layers, hidden_dim]` by style.
        method: The vector's method.
        layer: Its layer.
        options: As for the extraction.

    Returns:
        A row per style; none where nothing can be held out.
    """
    split, chosen = examples.split, np.asarray(rows, np.int64)
    styles = list(restyled)
    if not split.folds or not styles or not len(chosen):
        return []
    # All restyled copies follow the examples: tested with their original, and never trained on.
    source = np.concatenate([np.arange(len(split.questions)), *[chosen] * len(styles)])
    is_copy = np.arange(len(source)) >= len(split.questions)
    extended = Split(
        [Fold(fold.test[source], fold.training[source] & ~is_copy) for fold in split.folds],
        split.is_positive[source],
        split.questions[source],
        None if split.pairs is None else split.pairs[source],
    )
    values = [examples.activations, *(restyled[style] for style in styles)]
    at_layer = torch.cat([each[:, layer].float() for each in values])
    margins = held_out_margins(at_layer, extended, method, options)
    tested = _rows_of(split, chosen)
    before = estimates_of(margins[chosen], tested, options.seed)
    results = []
    for number, style in enumerate(styles):
        start = len(split.questions) + number * len(chosen)
        after = estimates_of(margins[start : start + len(chosen)], tested, options.seed)
        results.append(
            StyleStress(
                style=style,
                n=int(tested.is_scored.sum()),
                accuracy=(before["accuracy"], after["accuracy"]),
                auroc=(before["auroc"], after["auroc"]),
            )
        )
    return results


def _rows_of(split: Split, rows: np.ndarray) -> Split:
    return Split(
        [Fold(fold.test[rows], fold.training[rows]) for fold in split.folds],
        split.is_positive[rows],
        split.questions[rows],
        None if split.pairs is None else split.pairs[rows],
    )
