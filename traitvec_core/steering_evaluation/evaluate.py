"""Does a vector steer? Chosen on one half of the evaluation questions, measured on the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import Steering
from traitvec_core.models.steering import Addition
from traitvec_core.steering_evaluation.result import (
    Scores,
    SideEffect,
    SteeringEvaluation,
    SteeringOptions,
)
from traitvec_core.steering_evaluation.search import (
    MAX_TRIALS,
    Dose,
    choose,
    dose_condition,
    search_doses,
)
from traitvec_core.steering_evaluation.trials import (
    Condition,
    TrialLog,
    Trials,
    TrialSetup,
    mean_score,
    moved_by,
    summarise,
)
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors.extract import TraitVector

__all__ = ["SteeringPlan", "evaluate_steering", "most_responses"]

# Fractions of the chosen coefficient; 0 is without steering.
_FRACTIONS = (-1.0, -0.5, 0.5, 1.0, 1.5)
_UNSTEERED = Condition("unsteered")


@dataclass(frozen=True)
class SteeringPlan:
    """What is searched, and what is measured.

    Attributes:
        vectors: The vectors to choose from.
        separation: Their held-out separation.
        options: Numbers of responses, and the least coherence.
        side_effects: Other traits by name, whose rubrics are put to the chosen dose's responses.
    """

    vectors: Sequence[TraitVector]
    separation: Separation
    options: SteeringOptions = field(default_factory=SteeringOptions)
    side_effects: Mapping[str, TraitDefinition] = field(default_factory=dict)


def evaluate_steering(
    setup: TrialSetup,
    plan: SteeringPlan,
    *,
    log: TrialLog = TrialLog(),
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> SteeringEvaluation:
    """Choose layer, method and coefficient on half of the questions; report the other half.

    The trait's `eval_questions` are asked, or its `questions` when there are none. All random
    choices follow from `setup.sampling.seed` and from names: repeating an interrupted call with its
    rows and judgements gives the result that it would have given.

    Args:
        setup: What is steered and what scores.
        plan: What is searched and measured.
        log: Rows of an interrupted call, and where new ones go.
        on_progress: Called with responses done, the most there can be, and a note.

    Raises:
        TraitvecError: If there is no vector, or the model cannot be steered.
    """
    if not plan.vectors:
        raise TraitvecError("there is no vector to steer with; extract vectors first")
    options, seed = plan.options, setup.sampling.seed
    questions, source, notes = _questions(setup.definition)
    halves = np.array_split(np.random.default_rng(seed).permutation(len(questions)), 2)
    first, second = (sorted(half.tolist()) for half in halves)
    if len(second) < 10:
        notes.append(f"{len(second)} held-out questions: intervals over so few are too narrow")
    n_search, n_held_out = max(options.n_search, len(first)), max(options.n_held_out, len(second))
    most_searched, most_held_out = most_responses(len(questions), options)
    total = most_searched + sum(most_held_out)
    trials = Trials(setup, questions, log, lambda done, note: on_progress(done, total, note))

    unsteered = trials.run([_UNSTEERED], first, n_search)["unsteered"]
    search = [summarise(_UNSTEERED, unsteered, unsteered, seed)]

    def run(conditions: list[Condition]) -> list[Scores]:
        tables = trials.run(conditions, first, n_search)
        scores = [summarise(c, tables[c.name], unsteered, seed) for c in conditions]
        search.extend(scores)
        return scores

    tried = search_doses(plan.vectors, plan.separation, run, min_coherence=options.min_coherence)
    dose = choose(tried, options.min_coherence)
    held_out = _held_out(trials, plan, dose, second, n_held_out)
    evaluation = SteeringEvaluation(
        recommendation=None,
        notes=notes,
        questions_from=source,
        search_questions=[questions[i] for i in first],
        held_out_questions=[questions[i] for i in second],
        options=options,
        search=search,
        **held_out,
        **_spent(trials),
        responses=_all_responses(trials.tables, first),
    )
    evaluation.recommendation = _recommendation(evaluation, dose, plan)
    return evaluation


def most_responses(n_questions: int, options: SteeringOptions | Steering) -> tuple[int, list[int]]:
    """Return the most responses of an evaluation: of the search, and of each held-out condition.

    Args:
        n_questions: Questions that are asked.
        options: Responses per condition; every question is asked at least once.
    """
    n_first = -(-n_questions // 2)
    most_searched = (1 + MAX_TRIALS) * max(options.n_search, n_first)
    n_conditions = 2 + len(_FRACTIONS) + options.n_random
    return most_searched, [max(options.n_held_out, n_questions - n_first)] * n_conditions


def _held_out(
    trials: Trials, plan: SteeringPlan, dose: Dose | None, numbers: list[int], n: int
) -> dict[str, Any]:
    """The part of `SteeringEvaluation` that is measured on the held-out questions."""
    setup, seed = trials.setup, trials.setup.sampling.seed
    instructions = tuple(pair.pos for pair in setup.definition.instruction)
    prompted = Condition("prompted", instructions=instructions)
    doses = [] if dose is None else [dose_condition(dose, fraction) for fraction in _FRACTIONS]
    random = [] if dose is None else _random(dose, plan.options.n_random, seed)
    # Another trait's rubric costs one judgement per row, so only the chosen dose gets it.
    chosen = [c for c in doses if dose is not None and c.coefficient == dose.coefficient]
    others = [c for c in [*doses, prompted, *random] if c not in chosen]
    named = {f"on_{name}": other for name, other in plan.side_effects.items()}
    tables = trials.run([_UNSTEERED, *chosen], numbers, n, named)
    tables |= trials.run(others, numbers, n)
    base = tables["unsteered"]

    def measured(conditions: list[Condition]) -> list[Scores]:
        return [summarise(c, tables[c.name], base, seed) for c in conditions]

    pooled = [tables[condition.name] for condition in random]
    dose_response = measured([*doses, _UNSTEERED]) if doses else []
    return {
        "unsteered": measured([_UNSTEERED])[0],
        "dose_response": sorted(dose_response, key=lambda scores: scores.coefficient),
        "prompted": measured([prompted])[0],
        "random": measured(random),
        "random_moved": moved_by(pd.concat(pooled), base, "trait_score", seed)
        if pooled
        else Estimate(),
        "side_effects": [
            SideEffect(
                trait=name,
                unsteered=mean_score(base, f"on_{name}_score", seed),
                steered=mean_score(tables[condition.name], f"on_{name}_score", seed),
                moved=moved_by(tables[condition.name], base, f"on_{name}_score", seed),
            )
            for name in plan.side_effects
            for condition in chosen
        ],
    }


def _questions(definition: TraitDefinition) -> tuple[list[str], str, list[str]]:
    if len(definition.eval_questions) >= 2:
        return definition.eval_questions, "eval_questions", []
    return (
        definition.questions,
        "questions",
        [
            "the trait has no eval_questions (two or more), so its own questions were asked, which"
            " the vectors were extracted from, the held-out half included"
        ],
    )


def _random(dose: Dose, n: int, seed: int) -> list[Condition]:
    """Random directions of the vector's length, at its layer and coefficient."""
    vector = dose.vector
    conditions = []
    for number in range(n):
        rng = np.random.default_rng([seed, vector.layer, number])
        drawn = torch.from_numpy(rng.standard_normal(len(vector.vector))).float()
        matched = drawn * (vector.vector.norm() / drawn.norm())
        conditions.append(
            Condition(
                name=f"random{number}_for_{dose_condition(dose).name}",
                intervention=Addition(vector.layer, matched, dose.coefficient),
                method="random",
                layer=vector.layer,
                coefficient=dose.coefficient,
            )
        )
    return conditions


def _recommendation(
    evaluation: SteeringEvaluation, dose: Dose | None, plan: SteeringPlan
) -> Recommendation | None:
    if dose is None:
        by_separation = recommend(plan.separation, [(v.method, v.layer) for v in plan.vectors])
        if by_separation is None:
            return None
        why = (
            f"steering found nothing: of {len(evaluation.search) - 1} trials none raised the trait"
            f" score at a coherence of at least {evaluation.options.min_coherence:g};"
            f" {by_separation.why}"
        )
        return by_separation.model_copy(update={"why": why})
    steered = next(s for s in evaluation.dose_response if s.coefficient == dose.coefficient)
    return Recommendation(
        method=dose.vector.method,
        layer=dose.vector.layer,
        coefficient=dose.coefficient,
        chosen_by="steering",
        why=_why(evaluation, dose, steered),
    )


def _why(evaluation: SteeringEvaluation, dose: Dose, steered: Scores) -> str:
    """What the chosen dose does on the held-out questions, and what speaks against it."""
    base, moved = evaluation.unsteered, steered.trait_moved
    vector = dose.vector
    name = f"{vector.method} at layer {vector.layer}, coefficient {dose.coefficient:.3g}"
    origin = f"chosen by steering on the other half ({len(evaluation.search) - 1} trials)"
    before, after = base.trait.value, steered.trait.value
    if before is None or after is None or moved.value is None or moved.interval is None:
        return f"{name}: {origin}; the held-out half has no scores, so nothing shows that it works"
    low, high = moved.interval
    parts = [
        f"{name} moves the trait score of held-out questions from {before:.0f} to {after:.0f}"
        f" ({moved.value:+.0f}, 95% interval {low:+.0f} to {high:+.0f})"
    ]
    if steered.coherence.value is not None and base.coherence.value is not None:
        parts.append(
            f"coherence {steered.coherence.value:.0f} (unsteered {base.coherence.value:.0f})"
        )
    random = [s.trait_moved.value for s in evaluation.random if s.trait_moved.value is not None]
    if random:
        each = ", ".join(f"{value:+.0f}" for value in random)
        parts.append(f"random directions of the same length move it by {each}")
    if evaluation.prompted.trait.value is not None:
        parts.append(
            f"the positive instruction alone reaches {evaluation.prompted.trait.value:.0f}"
        )
    parts.append(origin)
    if low <= 0:
        parts.append("the interval includes 0, so this may be chance")
    elif random and max(map(abs, random)) >= moved.value / 2:
        parts.append(
            "a random direction moves it half as far or more: much of this is not the trait"
        )
    least = evaluation.options.min_coherence
    if not steered.is_coherent(least):
        parts.append(f"held out, it is not coherent enough ({least:g})")
    return "; ".join(parts)


def _all_responses(tables: Sequence[pd.DataFrame], first: Sequence[int]) -> pd.DataFrame:
    responses = pd.concat(tables, ignore_index=True)
    half = np.where(responses["question_number"].isin(first), "search", "held_out")
    return responses.assign(half=half).drop(columns=["pole", "question_number"])


def _spent(trials: Trials) -> dict[str, Any]:
    unfinished: dict[str, int] = {}
    for result in trials.judged:
        for reason, count in result.unfinished.items():
            unfinished[reason] = unfinished.get(reason, 0) + count
    return {
        "n_generated": sum(len(table) for table in trials.tables),
        "tokens_in": int(sum(table["prompt_tokens"].sum() for table in trials.tables)),
        "tokens_out": int(sum(table["response_tokens"].sum() for table in trials.tables)),
        "judging_cost": trials.cost,
        "paid": sum((result.paid for result in trials.judged), Cost()),
        "unfinished": unfinished,
    }
