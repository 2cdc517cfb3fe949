"""Judged responses by instruction pair, by question, and by both."""

import math
from typing import Any

import pandas as pd

__all__ = ["by_cell", "by_number", "mean"]


def by_number(frame: pd.DataFrame, number: str, text: str) -> list[dict[str, Any]]:
    """Return mean scores, contrast and counts for each instruction pair, or each question.

    Args:
        frame: Judged responses with `kept`, `refusing` and the column `number`.
        number: The column to group by.
        text: The column with its text; the positive pole's is shown.
    """
    table = []
    for value, rows in frame.groupby(number, sort=True):
        positive, negative = (rows[rows["pole"] == pole] for pole in ("pos", "neg"))
        means = mean(positive["trait_score"]), mean(negative["trait_score"])
        table.append(
            {
                "number": int(str(value)),
                text: positive[text].iloc[0] if len(positive) else negative[text].iloc[0],
                "mean_positive": means[0],
                "mean_negative": means[1],
                "contrast": _difference(*means),
                "kept_positive": int(positive["kept"].sum()),
                "kept_negative": int(negative["kept"].sum()),
                "refusing_positive": int(positive["refusing"].sum()),
                "refusing_negative": int(negative["refusing"].sum()),
                "missing": int(rows["trait_score"].isna().sum()),
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
    present = values.dropna()
    # An exact sum, so that not even the last digit depends on the order.
    return math.fsum(present) / len(present) if len(present) else None


def _difference(positive: float | None, negative: float | None) -> float | None:
    return None if positive is None or negative is None else positive - negative
