"""Figures of the responses to monitoring prompts, by condition and over all of them."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median

from pydantic import BaseModel

from traitvec_core.dynamics.curves import WINDOW, ResponseSummary
from traitvec_core.dynamics.prediction import ScorePrediction, predict_scores

__all__ = ["Figures", "MonitoredText", "Overview", "sum_up"]


class MonitoredText(BaseModel):
    """One response projected on the monitored vector; None is missing.

    Attributes:
        question: The monitoring prompt.
        condition: The kind of instruction: `none`, `positive` or `negative`.
        instruction: The instruction; empty if there is none.
        trait_score: The judge's trait score, 0 to 100.
        coherence_score: The judge's coherence score, 0 to 100.
        judge_reason: Why the trait score is missing; empty if it is not.
        summary: Summary of the response's projections.
    """

    question: str
    condition: str
    instruction: str
    trait_score: float | None
    coherence_score: float | None
    judge_reason: str
    summary: ResponseSummary


class Figures(BaseModel):
    """Means and medians over the responses that have the figure; None if no response has it.

    Attributes:
        n_texts: Number of responses.
        n_scored: Number of responses with a trait score.
        mean_trait_score: 0 to 100.
        mean_coherence_score: 0 to 100.
        mean_prompt_last: Projection of the prompt's last token, activation units.
        mean_projection: Mean over responses of their mean projection, activation units.
        mean_peak: Highest level, activation units.
        median_persistence: Number of tokens for which the peak lasts.
        n_long: Number of responses of more than `WINDOW` tokens; shorter ones cannot settle.
        settled_share: Share of the long responses that settle.
        median_commitment: The token at which they settle, counted from 0.
    """

    n_texts: int
    n_scored: int
    mean_trait_score: float | None
    mean_coherence_score: float | None
    mean_prompt_last: float | None
    mean_projection: float | None
    mean_peak: float | None
    median_persistence: float | None
    n_long: int
    settled_share: float | None
    median_commitment: float | None


class Overview(BaseModel):
    """All responses projected on one vector.

    Attributes:
        whole: Figures over all responses.
        by_condition: Figures over the responses of each condition.
        prediction: How well the last prompt token's projection predicts the trait score.
    """

    whole: Figures
    by_condition: dict[str, Figures]
    prediction: ScorePrediction


def sum_up(texts: Sequence[MonitoredText]) -> Overview:
    """Summarise responses; conditions keep the order in which they first occur."""
    conditions = dict.fromkeys(text.condition for text in texts)
    return Overview(
        whole=_figures(texts),
        by_condition={
            name: _figures([text for text in texts if text.condition == name])
            for name in conditions
        },
        prediction=predict_scores(
            [text.summary.prompt_last for text in texts],
            [text.trait_score for text in texts],
            [text.condition for text in texts],
        ),
    )


def _figures(texts: Sequence[MonitoredText]) -> Figures:
    summaries = [text.summary for text in texts]
    scores = [text.trait_score for text in texts]
    settled = [summary.commitment is not None for summary in summaries if summary.n_tokens > WINDOW]
    return Figures(
        n_texts=len(texts),
        n_scored=sum(score is not None for score in scores),
        mean_trait_score=_over(fmean, scores),
        mean_coherence_score=_over(fmean, (text.coherence_score for text in texts)),
        mean_prompt_last=_over(fmean, (summary.prompt_last for summary in summaries)),
        mean_projection=_over(fmean, (summary.mean for summary in summaries)),
        mean_peak=_over(fmean, (summary.peak for summary in summaries)),
        median_persistence=_over(median, (summary.persistence for summary in summaries)),
        n_long=len(settled),
        settled_share=_over(fmean, settled),
        median_commitment=_over(median, (summary.commitment for summary in summaries)),
    )


def _over(average: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return average(known) if known else None
