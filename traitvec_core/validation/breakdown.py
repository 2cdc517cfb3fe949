"""Judged responses by instruction pair, by question, and by both."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["by_cell", "by_number", "mean"]


def by_number(frame: pd.DataFrame, number: str, text: str) -> list[dict[str, Any]]:
    """Return mean scores, contrast and counts for each instruction pair, or each question.

    Args:
        frame: Judged responses with `kept`, `refusing` and the column `number`.
        number: The column to group by.
        text: The column with its text; the positive pole's is shown.
    """
    # Arrays: selecting rows of a frame for each group takes ten times as long.
    numbers, poles = frame[number].to_numpy(), frame["pole"].to_numpy()
    scores, texts = frame["trait_score"].to_numpy(float), frame[text].to_numpy()
    kept, refusing = (frame[name].to_numpy(bool) for name in ("kept", "refusing"))
    table = []
    for value in sorted(set(numbers)):
        rows = numbers == value
        positive, negative = (np.flatnonzero(rows & (poles == pole)) for pole in ("pos", "neg"))
        means = _mean(scores[positive]), _mean(scores[negative])
        table.append(
            {
                "number": int(value),
                text: texts[positive[0] if len(positive) else negative[0]],
                "mean_positive": means[0],
                "mean_negative": means[1],
                "contrast": _difference(*means),
                "kept_positive": int(kept[positive].sum()),
                "kept_negative": int(kept[negative].sum()),
                "refusing_positive": int(refusing[positive].sum()),
                "refusing_negative": int(refusing[negative].sum()),
                "missing": int(np.isnan(scores[rows]).sum()),
            }
        )
    return table


def by_cell(frame: pd.DataFrame) -> list[list[float | None]]:
    """Return the contrast of each instruction pair (rows) on each question (columns), ascending.

    Args:
        frame: Judged responses with `instruction_number` and `question_number`.
    """
    keys = ["pole", "instruction_number", "question_number"]
    means = {key: mean(rows) for key, rows in frame.groupby(keys)["trait_score"]}
    instructions, questions = (sorted(set(frame[key])) for key in keys[1:])
    return [
        [
            _difference(
                means.get(("pos", instruction, question)), means.get(("neg", instruction, question))
            )
            for question in questions
        ]
        for instruction in instructions
    ]


def mean(values: "pd.Series[Any]") -> float | None:
    """Return the mean of the values that are not missing, or None; the same in any row order."""
    return _mean(values.dropna().to_numpy(float))


def _mean(values: NDArray[np.float64]) -> float | None:
    present = values[~np.isnan(values)]
    # An exact sum, so that not even the last digit depends on the order.
    return math.fsum(present) / len(present) if len(present) else None


def _difference(positive: float | None, negative: float | None) -> float | None:
    return None if positive is None or negative is None else positive - negative
