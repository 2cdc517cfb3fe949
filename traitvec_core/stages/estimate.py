"""What judging will cost, before anything is spent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.plan import plan_responses
from traitvec_core.judging.agreement import agreement_sample
from traitvec_core.judging.judgement_store import JudgementStore, judgement_key
from traitvec_core.judging.load import JudgeChoice, api_judge
from traitvec_core.judging.models import price_of
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.trait import TraitDefinition, fill_rubric

__all__ = ["Estimate", "estimate_dynamics", "estimate_judging", "estimate_steering"]

# English prose has about four characters a token; chat templates and schemas add some.
_CHARS_PER_TOKEN = 4.0
_TOKENS_AROUND = 20
# What answers take where the store has seen none of this model: a number, or some thinking first.
_TOKENS_OUT = {"weighted": 4, "text": 4, "structured": 12}
_TOKENS_OUT_THINKING = 300


@dataclass(frozen=True)
class Estimate:
    """What one judge will be asked about one trait.

    Attributes:
        trait: The trait.
        judge: The model.
        purpose: `scores` that count, the `sample` that they are compared on, `steering`, or
            `dynamics` of the monitoring prompts.
        judgements: Judgements in all.
        known: How many of them the store holds, and nobody pays for again.
        tokens_in: Tokens that the others will read, about.
        tokens_out: Tokens that they will write, about.
        usd: Dollars for them, about; None where the price is not known.
        usd_batch: The same in batch mode.
        is_planned: Whether there are no responses yet, and the longest ones are assumed.
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
    folder: TraitFolder, settings: ExperimentSettings, store: JudgementStore
) -> list[Estimate]:
    """Estimate what judging a trait takes, one entry per judge and purpose.

    Args:
        folder: The trait's folder; its responses are counted where there are any.
        settings: The experiment's settings.
        store: The judgements that are known already.
    """
    definition = folder.definition()
    try:
        responses = folder.read_responses("responses")
        is_planned = False
    except TraitvecError:
        planned = plan_responses(folder.name, definition, settings.n_examples)
        longest = "x" * int(settings.sampling.max_new_tokens * _CHARS_PER_TOKEN)
        # Each its own, so that no two prompts are equal.
        responses = pd.DataFrame(
            [{"question": p.question, "response": f"{p.question_id} {longest}"} for p in planned]
        )
        is_planned = True
    rubrics = [definition.eval_prompt, COHERENCE_RUBRIC]
    rubrics += [
        folder.sibling(name).definition().eval_prompt
        for name in settings.also_judge
        if name != folder.name
    ]
    filled = [
        [
            fill_rubric(rubric, row["question"], row["response"])
            for row in responses.to_dict("records")
            if row["response"].strip()
        ]
        for rubric in rubrics
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

    def estimate(judge: str, purpose: str, asked: Iterable[tuple[str, int]]) -> Estimate:
        return _estimate(
            folder.name, JudgeChoice(settings, judge), settings, store, purpose, list(asked),
            is_planned=is_planned,
        )  # fmt: skip

    found = [estimate(settings.judge_model, "scores", ((prompt, 0) for prompt in prompts))]
    if settings.second_judge is not None:
        found.append(estimate(settings.second_judge, "sample", ((p, 0) for p in sample)))
    if settings.judge_repeats:
        repeats = ((p, k + 1) for k in range(settings.judge_repeats) for p in sample)
        found.append(estimate(settings.judge_model, "sample", repeats))
    return found


def estimate_steering(
    folder: TraitFolder, settings: ExperimentSettings, store: JudgementStore
) -> Estimate:
    """Estimate what judging steered responses takes at most, if all are as long as they may be.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        store: The judgements that are known already.
    """
    from traitvec_core.steering_evaluation.evaluate import most_responses

    definition = folder.definition()
    questions = definition.eval_questions or definition.questions
    searched, held_out = most_responses(len(questions), settings.steering)
    longest = "x" * int(settings.sampling.max_new_tokens * _CHARS_PER_TOKEN)
    prompts = _longest(definition, settings, questions, searched + sum(held_out))
    prompts += [
        # Side effects are looked for without steering and under the chosen dose.
        fill_rubric(folder.sibling(name).definition().eval_prompt, questions[0], f"{i} {longest}")
        for name in settings.steering.side_effects
        if name != folder.name
        for i in range(sum(held_out[:2]))
    ]
    return _estimate_live(folder, settings, store, "steering", prompts)


def estimate_dynamics(
    folder: TraitFolder, settings: ExperimentSettings, store: JudgementStore
) -> Estimate:
    """Estimate what judging the answers to the monitoring prompts takes at most.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        store: The judgements that are known already.
    """
    questions = settings.monitoring_prompts
    # Without an instruction, with a positive and with a negative one.
    prompts = _longest(folder.definition(), settings, questions, 3 * len(questions))
    return _estimate_live(folder, settings, store, "dynamics", prompts)


def _longest(
    definition: TraitDefinition, settings: ExperimentSettings, questions: Sequence[str], n: int
) -> list[str]:
    """Both rubrics over `n` responses that are as long as they may be, each its own."""
    longest = "x" * int(settings.sampling.max_new_tokens * _CHARS_PER_TOKEN)
    return [
        fill_rubric(rubric, questions[i % len(questions)], f"{i} {longest}")
        for rubric in (definition.eval_prompt, COHERENCE_RUBRIC)
        for i in range(n)
    ]


def _estimate_live(
    folder: TraitFolder,
    settings: ExperimentSettings,
    store: JudgementStore,
    purpose: str,
    prompts: list[str],
) -> Estimate:
    found = _estimate(
        folder.name, JudgeChoice(settings), settings, store, purpose, [(p, 0) for p in prompts],
        is_planned=True,
    )  # fmt: skip
    # These stages judge as they go, never in batches.
    return replace(found, usd_batch=found.usd)


def _estimate(
    trait: str,
    choice: JudgeChoice,
    settings: ExperimentSettings,
    store: JudgementStore,
    purpose: str,
    asked: list[tuple[str, int]],
    *,
    is_planned: bool,
) -> Estimate:
    if choice.provider == "local":
        tokens = sum(_tokens(prompt) for prompt, _ in asked)
        return Estimate(trait, choice.name, purpose, len(asked), 0, tokens, 0, 0.0, 0.0, is_planned)
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
        each = _TOKENS_OUT_THINKING if judge.can.thinks else _TOKENS_OUT[judge.can.scoring]
    tokens_in, tokens_out = sum(_tokens(prompt) for prompt in new), round(each * len(new))
    price = price_of(choice.name, settings.judge_prices)
    usd = None if price is None else price.usd(tokens_in, tokens_out)
    return Estimate(
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
    return round(len(prompt) / _CHARS_PER_TOKEN) + _TOKENS_AROUND
