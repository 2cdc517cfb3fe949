"""What a trial's responses show, pair by pair and question by question."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel
from scipy.stats import t

from traitvec_core.elicited_by import PAIRS_KEY, ElicitedBy
from traitvec_core.estimate import Estimate
from traitvec_core.settings.thresholds import Thresholds
from traitvec_core.trait import Pole, TraitDefinition
from traitvec_core.trial.outliers import Cell, Outliers, find_outliers
from traitvec_core.validation.elicitation import instruction_of, question_of

__all__ = ["Example", "Proposal", "Tried", "tried_pairs_and_questions"]

Proposal = Literal["keep", "reword", "drop"]


class Example(BaseModel):
    """One response of a trial.

    Attributes:
        question: The question.
        pole: Under which text of the pair: `pos` or `neg`.
        response: The response.
        score: Its trait score, 0 to 100; None if the judgement is missing.
    """

    question: str
    pole: Pole
    response: str
    score: float | None


class Tried(BaseModel):
    """A pair of instructions or openings, or a question, and what it elicited.

    Attributes:
        number: Its number in the definition's list, from 0.
        place: The same as in the file: `instruction[3]`, `scenarios[3]`, `questions[3]`.
        text: The question, or the pair's positive text.
        opposite: The pair's negative text; empty for a question.
        contrast: Mean trait score, positive − negative, over the tried combinations whose two
            responses are scored, with a 95% interval (t distribution over these few).
        n: The number of these combinations.
        by_other: The contrast of each combination, by the question's number (for a pair) or the
            pair's (for a question).
        p: How often chance alone puts the lowest of all pairs (or all questions) as low as this
            one, if all are alike; None without any score.
        elicits_nothing: Whether it stands out: it elicits less than the others and less than
            `contrast_warning`.
        proposal: What to do with it.
        reason: Why; empty for `keep`.
        examples: The positive responses with the lowest and the middle score, and a negative one.
    """

    number: int
    place: str
    text: str
    opposite: str = ""
    contrast: Estimate
    n: int
    by_other: dict[int, float]
    p: float | None
    elicits_nothing: bool
    proposal: Proposal = "keep"
    reason: str = ""
    examples: list[Example]


def tried_pairs_and_questions(
    judged: pd.DataFrame,
    definition: TraitDefinition,
    elicited_by: ElicitedBy,
    thresholds: Thresholds,
) -> tuple[list[Tried], list[Tried]]:
    """Return the tried pairs and the tried questions, in the definition's order.

    Args:
        judged: The trial's judged responses, one per pole, pair and question.
        definition: The trait.
        elicited_by: Whose pairs were tried.
        thresholds: What stands out below `contrast_warning` elicits nothing.
    """
    rows = judged.assign(
        pair_number=[instruction_of(name) for name in judged["question_id"]],
        question_number=[question_of(name) for name in judged["question_id"]],
    )
    scores = rows.pivot(
        index=["pair_number", "question_number"], columns="pole", values="trait_score"
    )
    # A combination with a missing score says nothing: it is left out, never zero.
    differences = (scores["pos"] - scores["neg"]).dropna()
    measured = [
        (int(row["pair_number"]), int(row["question_number"]), float(row["contrast"]))
        for row in differences.rename("contrast").reset_index().to_dict("records")
    ]
    by_pair = [Cell(pair, question, value) for pair, question, value in measured]
    dead = find_outliers(by_pair, thresholds.contrast_warning)
    # On a pair that elicits nothing, no question does, so it says nothing about them. This choice
    # leaves the second test valid: no shuffle among questions changes a pair's mean.
    by_question = [Cell(q, pair, value) for pair, q, value in measured if pair not in dead.named]
    idle = find_outliers(by_question, thresholds.contrast_warning)
    pairs = definition.pairs(elicited_by)
    return (
        [
            _tried(
                number, f"{PAIRS_KEY[elicited_by]}[{number}]",
                (pairs[number].pos, pairs[number].neg), by_pair, dead, own,
            )
            for number, own in _by_number(rows, "pair_number")
        ],
        [
            _tried(
                number, f"questions[{number}]", (definition.questions[number], ""),
                by_question, idle, own,
            )
            for number, own in _by_number(rows, "question_number")
        ],
    )  # fmt: skip


def _by_number(rows: pd.DataFrame, column: str) -> list[tuple[int, pd.DataFrame]]:
    return [(number, rows[rows[column] == number]) for number in sorted(set(rows[column]))]


def _tried(
    number: int,
    place: str,
    texts: tuple[str, str],
    cells: Sequence[Cell],
    outliers: Outliers,
    rows: pd.DataFrame,
) -> Tried:
    by_other = {cell.block: cell.contrast for cell in cells if cell.unit == number}
    contrasts = list(by_other.values())
    return Tried(
        number=number,
        place=place,
        text=texts[0],
        opposite=texts[1],
        contrast=_estimate(contrasts),
        n=len(contrasts),
        by_other=by_other,
        p=outliers.p.get(number),
        elicits_nothing=number in outliers.named,
        examples=_examples(rows),
    )


def _estimate(contrasts: Sequence[float]) -> Estimate:
    """Return the mean with the interval of a t distribution; without one below three values."""
    if not contrasts:
        return Estimate()
    mean = float(np.mean(contrasts))
    if len(contrasts) < 3:
        return Estimate(value=mean)
    half = float(t.ppf(0.975, len(contrasts) - 1) * np.std(contrasts, ddof=1))
    half /= math.sqrt(len(contrasts))
    return Estimate(value=mean, low=max(mean - half, -100.0), high=min(mean + half, 100.0))


def _examples(rows: pd.DataFrame) -> list[Example]:
    # Sorted, so that they do not depend on the order of the rows; missing scores come last.
    ordered = rows.sort_values(["trait_score", "question_id"])
    positive, negative = (ordered[ordered["pole"] == pole] for pole in ("pos", "neg"))
    middle = [frame.iloc[[(len(frame) - 1) // 2]] for frame in (positive, negative) if len(frame)]
    lowest = [positive.iloc[[0]]] if len(positive) > 1 else []
    chosen = pd.concat([*lowest, *middle]).drop_duplicates("question_id").to_dict("records")
    return [
        Example(
            question=row["question"],
            pole=row["pole"],
            response=row["response"],
            score=None if math.isnan(row["trait_score"]) else row["trait_score"],
        )
        for row in chosen
    ]
