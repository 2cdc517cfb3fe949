"""What judging will cost, before anything is spent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.agreement import agreement_sample
from traitvec_core.judging.judgement_store import JudgementStore, judgement_key
from traitvec_core.judging.load import JudgeChoice, api_judge
from traitvec_core.judging.prices import price_of
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC
from traitvec_core.trait import TraitDefinition, fill_rubric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["JudgingCost", "estimate_judging", "estimate_longest", "longest_response"]

# English prose has about four characters a token; chat templates and schemas add some.
_CHARS_PER_TOKEN = 4.0
_TEMPLATE_TOKENS = 20
# Length of an answer where the store has none of this model: a number, or some thinking first.
_ANSWER_TOKENS = {"weighted": 4, "text": 4, "structured": 12}
_ANSWER_TOKENS_THINKING = 300


@dataclass(frozen=True)
class JudgingCost:
    """What one judge will be asked about one trait, and what that costs.

    Attributes:
        trait: The trait.
        judge: The model.
        purpose: `scores` that count, the `sample` that they are compared on, `steering`, or
            `dynamics` of the monitoring prompts.
        judgements: Judgements in all.
        known: How many of them are in the store already and cost nothing.
        tokens_in: Estimated tokens read for the others.
        tokens_out: Estimated tokens written for the others.
        usd: Estimated dollars for the others; None where the price is not known.
        usd_batch: The same in batch mode.
        is_planned: Whether there are no responses yet, so that the longest possible are assumed.
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
    rubrics: Sequence[str],
    responses: "pd.DataFrame",
    settings: ExperimentSettings,
    store: JudgementStore,
    *,
    is_planned: bool,
) -> list[JudgingCost]:
    """Estimate what judging a trait's responses costs, one entry per judge and purpose.

    Args:
        trait: The trait.
        rubrics: The trait's rubric, then those of other traits that its responses are judged by.
        responses: Columns `question` and `response`; with all columns unless planned.
        settings: The experiment's settings.
        store: The judgements that are known already.
        is_planned: Whether the responses are stand-ins for ones that are still to be generated.
    """
    rows = [row for row in responses.to_dict("records") if row["response"].strip()]
    filled = [
        [fill_rubric(rubric, row["question"], row["response"]) for row in rows]
        for rubric in (rubrics[0], COHERENCE_RUBRIC, *rubrics[1:])
    ]
    prompts = dict.fromkeys(prompt for column in filled for prompt in column)
    # The sample that is taken once there are scores, if none of them is missing.
    sample = filled[0][: settings.agreement_sample]
    if not is_planned:
        chosen = agreement_sample(responses.assign(trait_score=0.0), settings.agreement_sample)
        sample = [
            fill_rubric(rubrics[0], row["question"], row["response"])
            for row in chosen.to_dict("records")
            if row["response"].strip()
        ]

    def estimate(judge: str, purpose: str, asked: Iterable[tuple[str, int]]) -> JudgingCost:
        return _estimate(
            trait, JudgeChoice(settings, judge), settings, store, purpose, list(asked),
            is_planned=is_planned,
        )  # fmt: skip

    costs = [estimate(settings.judge_model, "scores", ((prompt, 0) for prompt in prompts))]
    if settings.second_judge is not None:
        costs.append(estimate(settings.second_judge, "sample", ((p, 0) for p in sample)))
    if settings.judge_repeats:
        repeats = ((p, k + 1) for k in range(settings.judge_repeats) for p in sample)
        costs.append(estimate(settings.judge_model, "sample", repeats))
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
    others: Iterable[TraitDefinition] = (),
    n_others: int = 0,
) -> JudgingCost:
    """Estimate the most that judging responses can cost, if all are as long as they may be.

    Args:
        trait: The trait.
        definition: Its definition.
        settings: The experiment's settings.
        store: The judgements that are known already.
        purpose: As in `JudgingCost`.
        questions: Asked in turn.
        n_responses: Responses that are judged by the trait's rubric and for coherence.
        others: Other traits, by whose rubrics some responses are judged too.
        n_others: How many responses those are.
    """
    prompts = [
        fill_rubric(rubric, questions[i % len(questions)], longest_response(str(i), settings))
        for rubric in (definition.eval_prompt, COHERENCE_RUBRIC)
        for i in range(n_responses)
    ]
    prompts += [
        fill_rubric(other.eval_prompt, questions[0], longest_response(str(i), settings))
        for other in others
        for i in range(n_others)
    ]
    cost = _estimate(
        trait, JudgeChoice(settings), settings, store, purpose, [(p, 0) for p in prompts],
        is_planned=True,
    )  # fmt: skip
    # These stages judge as they go, never in batches.
    return replace(cost, usd_batch=cost.usd)


def longest_response(name: str, settings: ExperimentSettings) -> str:
    """Return a stand-in for the longest possible response; distinct names give distinct texts."""
    return f"{name} {'x' * int(settings.sampling.max_new_tokens * _CHARS_PER_TOKEN)}"


def _estimate(
    trait: str,
    choice: JudgeChoice,
    settings: ExperimentSettings,
    store: JudgementStore,
    purpose: str,
    asked: list[tuple[str, int]],
    *,
    is_planned: bool,
) -> JudgingCost:
    if choice.provider.is_in_process:
        tokens = sum(_tokens(prompt) for prompt, _ in asked)
        return JudgingCost(
            trait, choice.name, purpose, len(asked), 0, tokens, 0, 0.0, 0.0, is_planned
        )
    judge = api_judge(choice, settings, store)
    new = [
        prompt
        for prompt, repeat in asked
        if store.find(judgement_key(judge.identity, prompt, repeat)) is None
    ]
    seen = store.tokens_per_judgement(choice.name)
    if seen is not None:
        each = seen[0]
    else:
        each = _ANSWER_TOKENS_THINKING if judge.can.thinks else _ANSWER_TOKENS[judge.can.scoring]
    tokens_in, tokens_out = sum(_tokens(prompt) for prompt in new), round(each * len(new))
    price = price_of(choice.name, settings.judge_prices)
    usd = None if price is None else price.usd(tokens_in, tokens_out)
    return JudgingCost(
        trait=trait,
        judge=choice.name,
        purpose=purpose,
        judgements=len(asked),
        known=len(asked) - len(new),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=usd,
        usd_batch=None if price is None or usd is None else usd * price.batch,
        is_planned=is_planned,
    )


def _tokens(prompt: str) -> int:
    return round(len(prompt) / _CHARS_PER_TOKEN) + _TEMPLATE_TOKENS
