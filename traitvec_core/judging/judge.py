"""Scores responses with a judge. A failed judgement is a missing score with a reason, never 0."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from traitvec_core.judging.judgement_store import JudgementStore, Origin, judgement_key
from traitvec_core.judging.panel import Judge, judge_of, prompt_for
from traitvec_core.judging.reading import Judgement
from traitvec_core.judging.refusals import refusal_as_score
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC
from traitvec_core.storage.provenance import Cost
from traitvec_core.storage.response_tables import (
    POLE,
    columns_of_other_traits,
    judged_columns,
    names_of,
)
from traitvec_core.trait import TraitDefinition

__all__ = [
    "EMPTY_RESPONSE",
    "JUDGED_COLUMNS",
    "Judge",
    "JudgedResponses",
    "count_unusable",
    "judge_responses",
    "prompts_of",
    "score_prompts",
]

JUDGED_COLUMNS = (*names_of(judged_columns()), POLE)
EMPTY_RESPONSE = Judgement(None, "error", "the response is empty")


@dataclass
class JudgedResponses:
    """Judged responses and their cost.

    Attributes:
        table: The responses with `JUDGED_COLUMNS`, and for each additional trait
            `{trait}_score`, `{trait}_status` and `{trait}_reason`.
        cost: Cost of all judgements in the table, including those of earlier runs.
        paid: Cost of this call.
        n_asked: New judgements of this call.
        unfinished: Reason → number of judgements that the next run will request again.
    """

    table: pd.DataFrame
    cost: Cost
    paid: Cost
    n_asked: int
    unfinished: dict[str, int] = field(default_factory=dict)


def judge_responses(
    judge: Judge,
    definition: TraitDefinition,
    responses: pd.DataFrame,
    *,
    store: JudgementStore | None = None,
    origin: Origin = Origin(),
    is_about_refusing: bool = False,
    also: Mapping[str, TraitDefinition] | None = None,
    on_progress: Callable[[int, int, Cost], None] = lambda done, total, paid: None,
) -> JudgedResponses:
    """Score every response by the trait's rubric and for coherence.

    Args:
        judge: The judge, or a `JudgePanel` with a judge per rubric.
        definition: The trait, for its rubric.
        responses: A table as `generate_responses` returns it.
        store: Existing judgements; new ones are added as they are made.
        origin: The experiment and trait that pay, for the store.
        is_about_refusing: Whether the trait is about refusing. The answer REFUSAL is then the
            highest score; otherwise the score is missing.
        also: Other traits by name, whose rubrics the responses are judged by too.
        on_progress: Called with judgements done, their total, and the cost so far.

    Returns:
        The table and its cost. Empty responses are not judged: their scores are missing.
    """
    records = responses.to_dict("records")
    store = store or JudgementStore()
    names = ("trait", "coherence", *(also or {}))
    judges = {name: judge_of(judge, name) for name in names}
    prompts_of_rows = [
        prompts_of(judge, definition, row["question"], row["response"], also) for row in records
    ]
    prompts_by_rubric: dict[str, list[str | None]] = {
        name: [prompts.get(name) for prompts in prompts_of_rows] for name in names
    }
    # Equal prompts (identical responses to one question) are judged once by each judge.
    # The identity of a judge behind an API changes when it learns what its model accepts.
    judges_by_id = {id(each): each for each in judges.values()}
    sources: dict[int, dict[str, tuple[str, str]]] = {key: {} for key in judges_by_id}
    for name, prompts in prompts_by_rubric.items():
        own = sources[id(judges[name])]
        for row, prompt in zip(records, prompts, strict=True):
            if prompt is not None:
                own.setdefault(prompt, (name, row["question_id"]))
    judgements: dict[int, dict[str, Judgement]] = {}
    total = sum(len(own) for own in sources.values())
    n_done, paid, n_asked = 0, Cost(), 0
    for key, own in sources.items():

        def report(done: int, _: int, cost: Cost, before: int = n_done, spent: Cost = paid) -> None:
            on_progress(before + done, total, spent + cost)

        judgements[key], paid_now, n_new = score_prompts(
            judges_by_id[key], own, store=store, origin=origin, on_progress=report
        )
        count_unusable(judges_by_id[key], judgements[key], store)
        n_done, paid, n_asked = n_done + len(own), paid + paid_now, n_asked + n_new
    every = [judgement for own in judgements.values() for judgement in own.values()]
    judged = responses.copy()
    columns = {"trait": ("trait_score", "judge_status", "judge_reason")}
    for name, prompts in prompts_by_rubric.items():
        own_judgements = judgements[id(judges[name])]
        results = [
            EMPTY_RESPONSE if prompt is None else own_judgements[prompt] for prompt in prompts
        ]
        if name == "trait" and is_about_refusing:
            results = [refusal_as_score(result) for result in results]
        score, status, reason = columns.get(
            name, (f"{name}_score", f"{name}_status", f"{name}_reason")
        )
        judged[score] = [math.nan if r.score is None else float(r.score) for r in results]
        judged[status] = [r.status for r in results]
        judged[reason] = [r.reason for r in results]
    judged["judge_model"] = judges["trait"].name
    others = names_of(columns_of_other_traits(also or {}))
    return JudgedResponses(
        judged[[*JUDGED_COLUMNS, *others]],
        cost=_cost(every),
        paid=paid,
        n_asked=n_asked,
        unfinished=_count(r.reason for r in every if not r.is_final),
    )


def prompts_of(
    judge: Judge,
    definition: TraitDefinition,
    question: str,
    response: str,
    also: Mapping[str, TraitDefinition] | None = None,
) -> dict[str, str]:
    """Return what is asked about a response: the rubric's name → prompt for that rubric's judge.

    Empty responses are not judged.
    """
    if not response.strip():
        return {}
    rubrics = {"trait": definition.eval_prompt, "coherence": COHERENCE_RUBRIC}
    rubrics |= {name: other.eval_prompt for name, other in (also or {}).items()}
    return {
        name: prompt_for(judge_of(judge, name), rubric, question, response)
        for name, rubric in rubrics.items()
    }


def score_prompts(
    judge: Judge,
    sources: Mapping[str, tuple[str, str]],
    *,
    store: JudgementStore,
    origin: Origin = Origin(),
    repeat: int = 0,
    is_cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int, Cost], None] = lambda done, total, paid: None,
) -> tuple[dict[str, Judgement], Cost, int]:
    """Judge the prompts that the store has no judgement of; each is stored at once.

    Args:
        judge: The judge.
        sources: Prompt → name of its rubric and question_id, for the store.
        store: Existing judgements; new ones are added.
        origin: The experiment and trait that pay, for the store.
        repeat: Number of the repetition; 0 for the judgement that counts.
        is_cancelled: Whether to leave out what has not been asked yet.
        on_progress: Called with judgements done, their total, and the cost so far.

    Returns:
        Prompt → judgement, the cost of this call, and its number of new judgements.
    """
    judgements: dict[str, Judgement] = {}
    new: set[str] = set()
    paid = Cost()

    def is_known(prompt: str) -> bool:
        if is_cancelled():
            return True
        if prompt not in judgements:
            stored = store.find(judgement_key(judge.identity, prompt, repeat))
            if stored is None:
                return False
            judgements[prompt] = stored
        return True

    def keep(batch: Mapping[str, Judgement]) -> None:
        nonlocal paid
        store.keep(
            [
                (judgement_key(judge.identity, prompt, repeat), *sources[prompt], judgement)
                for prompt, judgement in batch.items()
            ],
            judge.identity,
            origin,
        )
        for prompt, judgement in batch.items():
            # If another run was first, its score counts, in this table too.
            key = judgement_key(judge.identity, prompt, repeat)
            judgements[prompt] = store.find(key) or judgement
        new.update(batch)
        paid = paid + _cost(batch.values())
        on_progress(len(judgements), len(sources), paid)

    judge.score(list(sources), keep, is_known, repeat)
    for prompt in sources:
        if prompt not in new:
            is_known(prompt)
    if not new:
        on_progress(len(judgements), len(sources), paid)
    return judgements, paid, len(new)


def count_unusable(
    judge: Judge, judgements: dict[str, Judgement], store: JudgementStore, repeat: int = 0
) -> None:
    """Count a run that ended without a usable answer to some prompts.

    Call it only when a run is through: a judge that is given up says nothing about its prompts.

    Args:
        judge: The judge.
        judgements: Prompt → judgement. Those that are final after too many runs are replaced.
        store: Counts the runs.
        repeat: Number of the repetition.
    """
    keys = {
        judgement_key(judge.identity, prompt, repeat): prompt
        for prompt, judgement in judgements.items()
        if judgement.status == "unparseable" and not judgement.is_final
    }
    store.count_unusable(keys)
    for key, prompt in keys.items():
        judgements[prompt] = store.find(key) or judgements[prompt]


def _cost(judgements: Iterable[Judgement]) -> Cost:
    judged = list(judgements)
    prices = [j.usd for j in judged if j.usd is not None]
    return Cost(
        tokens_in=sum(j.tokens_in for j in judged),
        tokens_out=sum(j.tokens_out for j in judged),
        # Answers arrive in any order: an exact sum is the same in each.
        usd=math.fsum(prices) if len(prices) == len(judged) else None,
    )


def _count(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return counts
