"""Estimates what judging will cost. Makes no API calls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.agreement import agreement_sample
from traitvec_core.judging.judgement_store import JudgementStore, judgement_key
from traitvec_core.judging.load import JudgeChoice, api_judge
from traitvec_core.judging.prices import price_of
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC
from traitvec_core.judging.scorer import scorer_prompt
from traitvec_core.settings.scorer import is_scorer
from traitvec_core.trait import TraitDefinition, fill_rubric

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "JudgingCost",
    "estimate_judging",
    "estimate_longest",
    "estimate_prompts",
    "longest_response",
]

# English prose has about four characters per token; chat templates and schemas add some.
_CHARS_PER_TOKEN = 4.0
_TEMPLATE_TOKENS = 20
# Length of an answer when the store has none of this model: a number, or reasoning and a number.
_ANSWER_TOKENS = {"weighted": 4, "text": 4, "structured": 12}
_ANSWER_TOKENS_THINKING = 300


@dataclass(frozen=True)
class JudgingCost:
    """The estimated cost of one judge's work on one trait, for one purpose.

    Attributes:
        trait: The trait.
        judge: The model.
        purpose: `scores` of the responses, the `sample` for agreement, `steering`, or
            `dynamics` of the monitoring prompts.
        judgements: All judgements.
        known: Those in the store, which cost nothing.
        tokens_in: Estimated input tokens of the others.
        tokens_out: Estimated output tokens of the others.
        usd: Estimated dollars for the others; None when the price is unknown.
        usd_batch: The same in batch mode.
        is_planned: Whether there are no responses yet, and the longest possible are assumed.
    """

    trait: str
    judge: str
    purpose: str
    judgements: int
    known: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    usd_batch: float | None
    is_planned: bool


def estimate_judging(
    trait: str,
    rubrics: Mapping[str, str],
    responses: "pd.DataFrame",
    settings: ExperimentSettings,
    store: JudgementStore,
    *,
    is_planned: bool,
) -> list[JudgingCost]:
    """Estimate what judging a trait's responses costs, one entry per judge and purpose.

    Args:
        trait: The trait.
        rubrics: The rubrics of the trait and of the other traits in `also_judge`, by trait.
        responses: Columns `question` and `response`; all columns unless planned.
        settings: The experiment's settings.
        store: Existing judgements.
        is_planned: Whether the responses are placeholders for responses still to be generated.
    """
    rows = [row for row in responses.to_dict("records") if row["response"].strip()]
    # As in `judge_responses`: each judge is asked once for equal prompts.
    prompts: dict[str, dict[str, None]] = {}
    for judge, rubric in (
        (settings.judge_of(trait), rubrics[trait]),
        (settings.judge_of_coherence, COHERENCE_RUBRIC),
        *((settings.judge_of(name), rubric) for name, rubric in rubrics.items() if name != trait),
    ):
        prompts.setdefault(judge, {}).update(dict.fromkeys(_prompts(judge, rubric, rows)))
    # The sample that will be drawn if no score is missing.
    sample = rows[: settings.agreement_sample]
    if not is_planned:
        chosen = agreement_sample(responses.assign(trait_score=0.0), settings.agreement_sample)
        sample = [row for row in chosen.to_dict("records") if row["response"].strip()]

    def sampled(judge: str) -> list[str]:
        return _prompts(judge, rubrics[trait], sample)

    def estimate(judge: str, purpose: str, requests: Iterable[tuple[str, int]]) -> JudgingCost:
        return estimate_prompts(
            trait, JudgeChoice(settings, judge), settings, store, purpose, list(requests),
            is_planned=is_planned,
        )  # fmt: skip

    costs = [
        estimate(judge, "scores", ((prompt, 0) for prompt in own)) for judge, own in prompts.items()
    ]
    second, first = settings.second_judge, settings.judge_of(trait)
    if second is not None:
        costs.append(estimate(second, "sample", ((p, 0) for p in sampled(second))))
    if settings.judge_repeats:
        repeats = ((p, k + 1) for k in range(settings.judge_repeats) for p in sampled(first))
        costs.append(estimate(first, "sample", repeats))
    return costs


def estimate_longest(
    trait: str,
    definition: TraitDefinition,
    settings: ExperimentSettings,
    store: JudgementStore,
    purpose: str,
    questions: Sequence[str],
    n_responses: int,
    *,
    others: Mapping[str, TraitDefinition] | None = None,
    n_others: int = 0,
) -> list[JudgingCost]:
    """Estimate the most that judging can cost, one entry per judge: responses are the longest.

    Args:
        trait: The trait.
        definition: Its definition.
        settings: The experiment's settings.
        store: Existing judgements.
        purpose: As in `JudgingCost`.
        questions: The questions, repeated over the responses.
        n_responses: Responses judged by the trait's rubric and for coherence.
        others: Other traits, by name, whose rubrics some responses are judged by too.
        n_others: Responses judged by each of those rubrics.
    """
    rows = [
        {
            "question": questions[i % len(questions)],
            "response": longest_response(str(i), settings),
        }
        for i in range(max(n_responses, n_others))
    ]
    prompts: dict[str, list[str]] = {}
    for judge, rubric, n in (
        (settings.judge_of(trait), definition.eval_prompt, n_responses),
        (settings.judge_of_coherence, COHERENCE_RUBRIC, n_responses),
        *(
            (settings.judge_of(name), other.eval_prompt, n_others)
            for name, other in (others or {}).items()
        ),
    ):
        prompts.setdefault(judge, []).extend(_prompts(judge, rubric, rows[:n]))
    costs = [
        estimate_prompts(
            trait, JudgeChoice(settings, judge), settings, store, purpose, [(p, 0) for p in own],
            is_planned=True,
        )
        for judge, own in prompts.items()
    ]  # fmt: skip
    # These stages never judge in batches.
    return [replace(cost, usd_batch=cost.usd) for cost in costs]


def longest_response(name: str, settings: ExperimentSettings) -> str:
    """Return a placeholder of maximal length; distinct names give distinct texts."""
    return f"{name} {'x' * int(settings.sampling.max_new_tokens * _CHARS_PER_TOKEN)}"


def _prompts(judge: str, rubric: str, rows: Iterable[Mapping[Any, Any]]) -> list[str]:
    if is_scorer(judge):
        return [scorer_prompt(row["question"], row["response"]) for row in rows]
    return [fill_rubric(rubric, row["question"], row["response"]) for row in rows]


def estimate_prompts(
    trait: str,
    choice: JudgeChoice,
    settings: ExperimentSettings,
    store: JudgementStore,
    purpose: str,
    requests: list[tuple[str, int]],
    *,
    is_planned: bool,
) -> JudgingCost:
    """Estimate what a judge costs that is asked about prompts; those in the store are free.

    Args:
        trait: The trait.
        choice: The judge.
        settings: The experiment's settings.
        store: Existing judgements.
        purpose: As in `JudgingCost`.
        requests: Prompts, each with its number of the repetition.
        is_planned: Whether the prompts are placeholders.
    """
    if choice.provider.is_in_process:
        is_model = not is_scorer(choice.name)
        tokens = sum(_tokens(prompt) for prompt, _ in requests) if is_model else 0
        return JudgingCost(
            trait, choice.name, purpose, len(requests), 0, tokens, 0, 0.0, 0.0, is_planned
        )
    judge = api_judge(choice, settings, store)
    new = [
        prompt
        for prompt, repeat in requests
        if store.find(judgement_key(judge.identity, prompt, repeat)) is None
    ]
    observed = store.tokens_per_judgement(choice.name)
    if observed is not None:
        each = observed[0]
    else:
        each = _ANSWER_TOKENS_THINKING if judge.can.thinks else _ANSWER_TOKENS[judge.can.scoring]
    tokens_in, tokens_out = sum(_tokens(prompt) for prompt in new), round(each * len(new))
    price = price_of(choice.name, settings.judge_prices)
    usd = None if price is None else price.usd(tokens_in, tokens_out)
    return JudgingCost(
        trait=trait,
        judge=choice.name,
        purpose=purpose,
        judgements=len(requests),
        known=len(requests) - len(new),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=usd,
        usd_batch=None if price is None or usd is None else usd * price.batch,
        is_planned=is_planned,
    )


def _tokens(prompt: str) -> int:
    return round(len(prompt) / _CHARS_PER_TOKEN) + _TEMPLATE_TOKENS
