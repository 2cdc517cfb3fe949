"""What the instructions elicited: scores by pole, instruction and question, and what is kept."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.estimate import Estimate
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.validation.breakdown import by_cell, by_number, mean
from traitvec_core.validation.draws import resampled
from traitvec_core.validation.response_counts import count_contents, count_responses, which_refuse

__all__ = [
    "Elicitation",
    "PoleSummary",
    "instruction_of",
    "keep_mask",
    "question_of",
    "summarise_responses",
]

_N_RESAMPLES = 1000


class PoleSummary(BaseModel):
    """One pole's responses.

    Attributes:
        n: Responses generated.
        scored: Responses with a trait score.
        kept: Responses that the filter keeps.
        missing: Unscored responses by reason, for the trait score.
        missing_coherence: The same for coherence.
        mean_trait: Mean trait score over all scored rows, before filtering; None without any.
        trait_quartiles: 25th, 50th and 75th percentile of these; empty without any.
        mean_coherence: Mean coherence over all rows with a coherence score.
        incoherent: Responses whose coherence is below the filter's minimum.
        empty: Responses without any text.
        truncated: Responses cut at the token limit.
        looping: Responses that end by repeating the same piece.
        identical: Responses that repeat an earlier one of this pole; empty ones are not counted
            again.
        thinking: Responses preceded by thinking, which is neither judged nor averaged.
        leaked_thinking: Responses that still contain marks of thinking.
        echoed: Responses that repeat the instruction or the question.
        refusing: Responses that decline to answer, by the judge or by their first words.
        mean_tokens: Mean response length in tokens.
        mean_characters: Mean response length in characters.
    """

    n: int
    scored: int
    kept: int
    missing: dict[str, int]
    missing_coherence: dict[str, int]
    mean_trait: float | None
    trait_quartiles: list[float]
    mean_coherence: float | None
    incoherent: int
    empty: int
    truncated: int
    looping: int
    identical: int
    thinking: int
    leaked_thinking: int
    echoed: int
    refusing: int
    mean_tokens: float
    mean_characters: float


class Elicitation(BaseModel):
    """What the two poles' instructions elicited.

    Attributes:
        positive: The positive pole.
        negative: The negative pole.
        contrast: Mean trait score, positive − negative, over all scored rows before filtering, with
            percentiles over questions drawn with replacement; without a value when a pole has no
            score at all.
        n_pairs: Pairs of a positive and a negative response to the same question, with the same
            instruction pair and sample; matched by `question_id`.
        pairs_kept: Pairs whose responses the filter both keeps.
        by_instruction: Mean scores, contrast and counts for each instruction pair.
        by_question: The same for each question.
        by_cell: Contrast of each instruction pair (rows) on each question (columns), in the order
            of the two tables; None where a pole has no score.
        questions_kept: Number of questions with a kept response, by pole.
        instructions_kept: Number of instructions with a kept response, by pole.
        n_questions: Questions asked.
        n_instructions: Instruction pairs used.
        response_filter: The filter that was applied.
        elicited_by: Whether the instructions are openings (`scenarios`).
    """

    positive: PoleSummary
    negative: PoleSummary
    contrast: Estimate
    n_pairs: int
    pairs_kept: int
    by_instruction: list[dict[str, Any]]
    by_question: list[dict[str, Any]]
    by_cell: list[list[float | None]]
    questions_kept: dict[str, int]
    instructions_kept: dict[str, int]
    n_questions: int
    n_instructions: int
    response_filter: ResponseFilter
    elicited_by: ElicitedBy = "instructions"


def keep_mask(judged: pd.DataFrame, response_filter: ResponseFilter) -> NDArray[np.bool_]:
    """Return which responses the filter keeps, `[n_responses]`.

    A response with a missing score is left out: it is neither high nor low.

    Args:
        judged: Judged responses of both poles, with `pole`, and for pairs with `question_id`.
        response_filter: The filter.
    """
    trait = judged["trait_score"].to_numpy(float)
    coherence = judged["coherence_score"].to_numpy(float)
    positive = (judged["pole"] == "pos").to_numpy()
    threshold = response_filter.threshold
    side = np.where(positive, trait >= threshold, trait < threshold)
    # Comparisons with NaN are false, so missing scores are left out.
    kept: NDArray[np.bool_] = side & (coherence >= response_filter.min_coherence)
    if response_filter.pairing == "paired":
        pairs = _pairs(judged)
        poles = [set(pairs[kept & positive]), set(pairs[kept & ~positive])]
        kept &= pairs.isin(poles[0] & poles[1]).to_numpy()
    return kept


def summarise_responses(
    judged: pd.DataFrame,
    response_filter: ResponseFilter,
    elicited_by: ElicitedBy = "instructions",
) -> Elicitation:
    """Summarise judged responses; see `Elicitation`.

    No figure depends on the order of the rows as long as no `question_id` repeats. Where one does,
    the k-th positive row pairs with the k-th negative one.

    Args:
        judged: Judged responses of both poles, with `pole` and `question_id`.
        response_filter: The filter.
        elicited_by: What the column `instruction` contains.
    """
    frame = judged.assign(
        kept=keep_mask(judged, response_filter),
        pair=_pairs(judged),
        refusing=which_refuse(judged),
        question_number=[question_of(name) for name in judged["question_id"]],
        instruction_number=[instruction_of(name) for name in judged["question_id"]],
    )
    poles = {pole: frame[frame["pole"] == pole] for pole in ("pos", "neg")}
    summaries = {
        pole: _summarise_pole(rows, response_filter.min_coherence) for pole, rows in poles.items()
    }
    kept = frame[frame["kept"]]
    pairs = set(poles["pos"]["pair"]) & set(poles["neg"]["pair"])
    both_kept = [set(kept.loc[kept["pole"] == pole, "pair"]) for pole in poles]
    return Elicitation(
        positive=summaries["pos"],
        negative=summaries["neg"],
        contrast=_contrast(frame, summaries["pos"].mean_trait, summaries["neg"].mean_trait),
        n_pairs=len(pairs),
        pairs_kept=len(pairs & both_kept[0] & both_kept[1]),
        by_instruction=by_number(frame, "instruction_number", "instruction"),
        by_question=by_number(frame, "question_number", "question"),
        by_cell=by_cell(frame),
        questions_kept=_distinct(kept, "question_number"),
        instructions_kept=_distinct(kept, "instruction_number"),
        n_questions=frame["question_number"].nunique(),
        n_instructions=frame["instruction_number"].nunique(),
        response_filter=response_filter,
        elicited_by=elicited_by,
    )


def question_of(question_id: str) -> int:
    """Return the question's number in `{trait}_{question}_{pole}_{instruction}_{sample}`."""
    return int(question_id.split("_")[-4])


def instruction_of(question_id: str) -> int:
    """Return the instruction's number in `{trait}_{question}_{pole}_{instruction}_{sample}`."""
    return int(question_id.split("_")[-2])


def _pairs(judged: pd.DataFrame) -> "pd.Series[Any]":
    """A key that each response shares with its counterpart and with no other of its pole."""
    # The id without its pole, and how many rows with the same id came before.
    names = judged["question_id"].str.replace(r"_(?:pos|neg)_(\d+_\d+)$", r"_\1", regex=True)
    seen = judged.assign(pair=names).groupby(["pole", "pair"]).cumcount()
    return names + "#" + seen.astype(str)


def _contrast(
    frame: pd.DataFrame, mean_positive: float | None, mean_negative: float | None
) -> Estimate:
    questions = sorted(set(frame["question_number"]))
    if mean_positive is None or mean_negative is None:
        return Estimate()
    scored = frame[frame["trait_score"].notna()]
    counts, _ = resampled(np.array(questions), _N_RESAMPLES, seed=0)
    drawn = np.vstack([np.ones(len(questions)), counts])
    means = []
    for pole in ("pos", "neg"):
        rows = scored[scored["pole"] == pole].groupby("question_number")["trait_score"]
        sums = rows.agg(math.fsum).reindex(questions, fill_value=0.0).to_numpy(float)
        sizes = rows.size().reindex(questions, fill_value=0).to_numpy(float)
        with np.errstate(invalid="ignore"):
            means.append((drawn @ sums) / (drawn @ sizes))
    # The means are exact sums, so that the value does not depend on the order of the rows.
    return Estimate.from_draws(means[0] - means[1]).model_copy(
        update={"value": mean_positive - mean_negative}
    )


def _summarise_pole(rows: pd.DataFrame, min_coherence: float) -> PoleSummary:
    scores = rows["trait_score"].dropna()
    return PoleSummary(
        n=len(rows),
        scored=len(scores),
        kept=int(rows["kept"].sum()),
        missing=_missing(rows, "trait_score", "judge_status"),
        missing_coherence=_missing(rows, "coherence_score", "coherence_status"),
        mean_trait=mean(scores),
        trait_quartiles=np.percentile(scores, [25, 50, 75]).tolist() if len(scores) else [],
        mean_coherence=mean(rows["coherence_score"]),
        incoherent=int((rows["coherence_score"] < min_coherence).sum()),
        **count_responses(rows),
        **count_contents(rows),
        mean_tokens=mean(rows["response_tokens"]) or 0.0,
        mean_characters=mean(rows["response"].str.len()) or 0.0,
    )


def _missing(rows: pd.DataFrame, score: str, status: str) -> dict[str, int]:
    """Rows without a score, by status; imported tables may not give one."""
    unscored = rows[rows[score].isna()]
    reasons = unscored[status] if status in unscored else ["unknown"] * len(unscored)
    return dict(sorted(Counter(map(str, reasons)).items()))


def _distinct(kept: pd.DataFrame, column: str) -> dict[str, int]:
    return {pole: int(kept.loc[kept["pole"] == pole, column].nunique()) for pole in ("pos", "neg")}
