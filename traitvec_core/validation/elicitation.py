"""What the instructions elicited: scores by pole, instruction and question; what is kept."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.validation.response_counts import count_responses

__all__ = [
    "Elicitation",
    "PoleSummary",
    "instruction_of",
    "keep_mask",
    "question_of",
    "summarise_responses",
]


class PoleSummary(BaseModel):
    """One pole's responses.

    Attributes:
        n: Responses generated.
        scored: Responses with a trait score.
        kept: Responses that the filter keeps.
        missing: Unscored responses by reason, for the trait score.
        mean_trait: Mean trait score over all scored rows, before filtering; None without any.
        mean_coherence: Mean coherence over all rows scored for it.
        empty: Responses without any text.
        truncated: Responses cut at the token limit.
        looping: Responses that end in the same piece over and over.
        identical: Responses that repeat an earlier one of this pole; empty ones are not counted
            again.
        thinking: Responses before which the model thought aloud; it is neither judged nor averaged.
        mean_tokens: Mean response length in tokens.
        mean_characters: Mean response length in characters.
    """

    n: int
    scored: int
    kept: int
    missing: dict[str, int]
    mean_trait: float | None
    mean_coherence: float | None
    empty: int
    truncated: int
    looping: int
    identical: int
    thinking: int
    mean_tokens: float
    mean_characters: float


class Elicitation(BaseModel):
    """What the two poles' instructions elicited.

    Attributes:
        positive: The positive pole.
        negative: The negative pole.
        contrast: Mean trait score, positive − negative, over all scored rows before filtering; None
            when a pole has no score at all.
        n_pairs: Pairs of a positive and a negative response to the same question, with the same
            instruction pair and sample; matched by `question_id`.
        pairs_kept: Pairs of which the filter keeps both responses.
        by_instruction: Mean scores and contrast for each instruction pair.
        by_question: The same for each question.
        questions_kept: Number of questions with a kept response, by pole.
        instructions_kept: Number of instructions with a kept response, by pole.
        n_questions: Questions asked.
        n_instructions: Instruction pairs used.
        threshold: The filter's trait threshold.
        min_coherence: The filter's coherence threshold.
    """

    positive: PoleSummary
    negative: PoleSummary
    contrast: float | None
    n_pairs: int
    pairs_kept: int
    by_instruction: list[dict[str, Any]]
    by_question: list[dict[str, Any]]
    questions_kept: dict[str, int]
    instructions_kept: dict[str, int]
    n_questions: int
    n_instructions: int
    threshold: float
    min_coherence: float


def keep_mask(judged: pd.DataFrame, threshold: float, min_coherence: float) -> NDArray[np.bool_]:
    """Which responses enter the averages.

    Positives score at least `threshold` on the trait, negatives less; both are at least
    `min_coherence` coherent. A missing score keeps nothing: it is neither high nor low.

    Args:
        judged: Judged responses of both poles, with a column `pole`.
        threshold: Trait threshold, 0–100.
        min_coherence: Coherence threshold, 0–100.
    """
    trait = judged["trait_score"].to_numpy(float)
    coherence = judged["coherence_score"].to_numpy(float)
    positive = (judged["pole"] == "pos").to_numpy()
    side = np.where(positive, trait >= threshold, trait < threshold)
    # Comparisons with NaN are false, which is what missing should do.
    kept: NDArray[np.bool_] = side & (coherence >= min_coherence)
    return kept


def summarise_responses(
    judged: pd.DataFrame, threshold: float, min_coherence: float
) -> Elicitation:
    """Summarise judged responses; see `Elicitation`.

    No figure depends on the order of the rows as long as no `question_id` repeats. Where one does,
    its rows are told apart by their order alone: the k-th positive pairs with the k-th negative.

    Args:
        judged: Judged responses of both poles, with `pole` and `question_id`.
        threshold: The filter's trait threshold.
        min_coherence: The filter's coherence threshold.
    """
    frame = judged.assign(
        kept=keep_mask(judged, threshold, min_coherence),
        question_number=[question_of(name) for name in judged["question_id"]],
        instruction_number=[instruction_of(name) for name in judged["question_id"]],
    )
    poles = {pole: frame[frame["pole"] == pole] for pole in ("pos", "neg")}
    summaries = {pole: _summarise_pole(rows) for pole, rows in poles.items()}
    positive, negative = summaries["pos"].mean_trait, summaries["neg"].mean_trait
    kept = frame[frame["kept"]]
    n_pairs, pairs_kept = _count_pairs(poles["pos"], poles["neg"])
    return Elicitation(
        positive=summaries["pos"],
        negative=summaries["neg"],
        contrast=None if positive is None or negative is None else positive - negative,
        n_pairs=n_pairs,
        pairs_kept=pairs_kept,
        by_instruction=_by(frame, "instruction_number", "instruction"),
        by_question=_by(frame, "question_number", "question"),
        questions_kept=_distinct(kept, "question_number"),
        instructions_kept=_distinct(kept, "instruction_number"),
        n_questions=frame["question_number"].nunique(),
        n_instructions=frame["instruction_number"].nunique(),
        threshold=threshold,
        min_coherence=min_coherence,
    )


def question_of(question_id: str) -> int:
    """The question's number in `{trait}_{question}_{pole}_{instruction}_{sample}`."""
    return int(question_id.split("_")[-4])


def instruction_of(question_id: str) -> int:
    """The instruction's number in `{trait}_{question}_{pole}_{instruction}_{sample}`."""
    return int(question_id.split("_")[-2])


def _summarise_pole(rows: pd.DataFrame) -> PoleSummary:
    unscored = rows[rows["trait_score"].isna()]
    return PoleSummary(
        n=len(rows),
        scored=int(rows["trait_score"].notna().sum()),
        kept=int(rows["kept"].sum()),
        missing={str(k): int(v) for k, v in unscored["judge_status"].value_counts().items()},
        mean_trait=_mean(rows["trait_score"]),
        mean_coherence=_mean(rows["coherence_score"]),
        **count_responses(rows),
        mean_tokens=_mean(rows["response_tokens"]) or 0.0,
        mean_characters=_mean(rows["response"].str.len()) or 0.0,
    )


def _count_pairs(positive: pd.DataFrame, negative: pd.DataFrame) -> tuple[int, int]:
    """Pairs with both responses, and those of them that are kept on both sides."""
    positives, negatives = _kept_by_pair(positive), _kept_by_pair(negative)
    pairs = positives.keys() & negatives.keys()
    return len(pairs), sum(positives[pair] and negatives[pair] for pair in pairs)


def _kept_by_pair(rows: pd.DataFrame) -> dict[tuple[str, int], bool]:
    seen: Counter[str] = Counter()
    is_kept = {}
    for question_id, kept in zip(rows["question_id"], rows["kept"], strict=True):
        # What both sides of a pair share is the id without its pole.
        question, _, instruction, sample = question_id.rsplit("_", 3)
        pair = f"{question}_{instruction}_{sample}"
        is_kept[pair, seen[pair]] = bool(kept)
        seen[pair] += 1
    return is_kept


def _by(frame: pd.DataFrame, number: str, text: str) -> list[dict[str, Any]]:
    table = []
    for value, rows in frame.groupby(number, sort=True):
        positive, negative = (rows[rows["pole"] == pole] for pole in ("pos", "neg"))
        means = _mean(positive["trait_score"]), _mean(negative["trait_score"])
        table.append(
            {
                "number": int(str(value)),
                text: positive[text].iloc[0] if len(positive) else negative[text].iloc[0],
                "mean_positive": means[0],
                "mean_negative": means[1],
                "contrast": None if None in means else float(means[0] or 0) - float(means[1] or 0),
                "kept_positive": int(positive["kept"].sum()),
                "kept_negative": int(negative["kept"].sum()),
            }
        )
    return table


def _distinct(kept: pd.DataFrame, column: str) -> dict[str, int]:
    return {pole: int(kept.loc[kept["pole"] == pole, column].nunique()) for pole in ("pos", "neg")}


def _mean(values: "pd.Series[Any]") -> float | None:
    present = values.dropna()
    # An exact sum: in another order of the rows, the last digit stays too.
    return math.fsum(present) / len(present) if len(present) else None
