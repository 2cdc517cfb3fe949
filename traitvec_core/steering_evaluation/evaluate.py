"""Does a vector steer? Chosen on some questions, tested on others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Steering
from traitvec_core.models.interventions import Addition
from traitvec_core.steering_evaluation.controls import random_directions
from traitvec_core.steering_evaluation.damage import measure_damage
from traitvec_core.steering_evaluation.intervals import mean_score, moved_by
from traitvec_core.steering_evaluation.questions import choose_questions
from traitvec_core.steering_evaluation.recommendation import recommend_dose
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
from traitvec_core.steering_evaluation.significance import compare_with_random
from traitvec_core.steering_evaluation.time_left import TimeLeft
from traitvec_core.steering_evaluation.trials import (
    Condition,
    Round,
    TrialLog,
    Trials,
    TrialSetup,
    summarise,
)
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.separation import Separation
from traitvec_core.validation.steering import SteeringTest
from traitvec_core.vectors.extract import TraitVector

__all__ = [
    "ResponseCounts", "SteeringPlan", "StepProgress", "evaluate_steering", "response_counts",
]  # fmt: skip

# Fractions of the chosen coefficient beside itself; 0 is without steering.
_FRACTIONS = (-1.0, 0.5, 1.5)
_UNSTEERED = Condition("unsteered")
StepProgress = Callable[[int, int, str, float | None], None]
"""Receives responses done, the most there can be, a note, and the seconds left if known."""


@dataclass(frozen=True)
class SteeringPlan:
    """What is searched, and what is measured.

    Attributes:
        vectors: The vectors to choose from.
        separation: Their held-out separation.
        options: Numbers of responses, and the least coherence.
        side_effects: Other traits by name, whose rubrics are put to the chosen dose's responses.
        refusal_vector: Returns the experiment's refusal vector at a layer, `[hidden_dim]`, or None.
    """

    vectors: Sequence[TraitVector]
    separation: Separation
    options: SteeringOptions = field(default_factory=SteeringOptions)
    side_effects: Mapping[str, TraitDefinition] = field(default_factory=dict)
    refusal_vector: Callable[[int], torch.Tensor | None] = lambda layer: None


def evaluate_steering(
    setup: TrialSetup,
    plan: SteeringPlan,
    *,
    log: TrialLog = TrialLog(),
    on_progress: StepProgress = lambda done, total, note, left_s: None,
) -> SteeringEvaluation:
    """Choose layer, method and coefficient on some questions; test and report on others.

    See `choose_questions` for which questions are asked. All random choices follow from
    `setup.sampling.seed` and from names: repeating an interrupted call with its rows and judgements
    gives the result that it would have given.

    Args:
        setup: What is steered and what scores.
        plan: What is searched and measured.
        log: Rows of an interrupted call, and where new ones go.
        on_progress: Called with responses done, the most there can be, a note, and the seconds
            that generating and judging still take at most; None while they are not known.

    Raises:
        TraitvecError: If there is no vector, or the model cannot be steered.
    """
    if not plan.vectors:
        raise TraitvecError("there is no vector to steer with; extract vectors first")
    options, seed = plan.options, setup.sampling.seed
    asked = choose_questions(setup.definition, options.n_search, options.n_held_out, seed)
    first = list(range(len(asked.search)))
    second = list(range(len(first), len(first) + len(asked.held_out)))
    total = sum(response_counts(len(second), options))
    time_left = TimeLeft(total)
    trials = Trials(
        setup,
        [*asked.search, *asked.held_out],
        log,
        lambda done, note: on_progress(done, total, note, time_left.seconds()),
        time_left,
    )

    tables: dict[str, pd.DataFrame] = {}
    search: list[Scores] = []

    def run(conditions: list[Condition]) -> list[Scores]:
        # The first doses need not wait for the responses that they are compared with.
        new = [*([] if tables else [[_UNSTEERED]]), *([conditions] if conditions else [])]
        tables.update(trials.run(*(Round(items, first, options.n_search) for items in new)))
        for condition in chain(*new):
            search.append(summarise(condition, tables[condition.name], tables["unsteered"]))
        return search[len(search) - len(conditions) :]

    tried = search_doses(plan.vectors, plan.separation, run, min_coherence=options.min_coherence)
    if not tables:
        run([])
    dose = choose(tried, options.min_coherence)
    held_out = _held_out(trials, plan, dose, second, len(tried))
    evaluation = SteeringEvaluation(
        tested=None,
        recommendation=None,
        notes=asked.notes,
        questions_from=asked.held_out_from,
        search_questions=asked.search,
        held_out_questions=asked.held_out,
        options=options,
        search=search,
        **held_out,
        **_spent(trials),
        responses=_all_responses(trials.tables, first),
    )
    evaluation.tested, evaluation.recommendation = recommend_dose(
        evaluation, dose, plan.vectors, plan.separation, trials.setup.elicited_by
    )
    return evaluation


class ResponseCounts(NamedTuple):
    """The most responses of an evaluation.

    Attributes:
        search: Of the search.
        measured: Of the chosen dose and without steering, whose responses other rubrics score too.
        others: Of the other held-out conditions: further doses, and the prompted baseline.
        random: Of the random directions.
    """

    search: int
    measured: int
    others: int
    random: int


def response_counts(
    n_held_out_questions: int, options: SteeringOptions | Steering
) -> ResponseCounts:
    """Return the most responses of an evaluation.

    Args:
        n_held_out_questions: Held-out questions; each random direction answers every one.
        options: Responses per condition.
    """
    return ResponseCounts(
        search=(1 + MAX_TRIALS) * options.n_search,
        measured=2 * options.n_held_out,
        others=(len(_FRACTIONS) + 1) * options.n_held_out,
        random=options.n_random * _n_per_random(n_held_out_questions, options.n_held_out),
    )


def _n_per_random(n_questions: int, n_held_out: int) -> int:
    return max(-(-n_held_out // 2), n_questions)


def _held_out(
    trials: Trials, plan: SteeringPlan, dose: Dose | None, numbers: list[int], n_trials: int
) -> dict[str, Any]:
    """The part of `SteeringEvaluation` that is measured on the held-out questions."""
    pairs = trials.setup.definition.pairs(trials.setup.elicited_by)
    prompted = Condition("prompted", instructions=tuple(pair.pos for pair in pairs))
    chosen: list[Condition] = []
    others: list[Condition] = []
    random: list[Condition] = []
    if dose is not None:
        chosen = [dose_condition(dose)]
        others = [dose_condition(dose, fraction) for fraction in _FRACTIONS]
        random = random_directions(dose, plan.options.n_random, trials.setup.sampling.seed)
    n = plan.options.n_held_out
    # Another trait's rubric costs one judgement per row, so only the chosen dose gets it.
    named = {f"on_{name}": other for name, other in plan.side_effects.items()}
    rounds = [
        Round([_UNSTEERED, *chosen], numbers, n, named),
        Round([*others, prompted], numbers, n),
        Round(random, numbers, _n_per_random(len(numbers), n)),
    ]
    tables = trials.run(*(asked for asked in rounds if asked.conditions))
    base = tables["unsteered"]

    def measured(conditions: list[Condition]) -> list[Scores]:
        return [summarise(c, tables[c.name], base) for c in conditions]

    result: dict[str, Any] = {
        "unsteered": measured([_UNSTEERED])[0],
        "prompted": measured([prompted])[0],
    }
    if dose is None:
        why = "no dose raised the trait score at an acceptable coherence"
        test = SteeringTest(untested=why, n_trials=n_trials)
        return result | {"dose_response": [], "random": [], "test": test, "side_effects": []}
    steered = tables[chosen[0].name]
    scores = measured(chosen)
    return result | {
        "dose_response": sorted(
            [*scores, *measured([*others, _UNSTEERED])], key=lambda scores: scores.coefficient
        ),
        "random": measured(random),
        "test": compare_with_random(
            steered,
            [tables[condition.name] for condition in random],
            base,
            n_trials=n_trials,
            is_coherent=scores[0].is_coherent(plan.options.min_coherence),
        ),
        "side_effects": [
            SideEffect(
                trait=name,
                unsteered=mean_score(base, f"on_{name}_score"),
                steered=mean_score(steered, f"on_{name}_score"),
                moved=moved_by(steered, base, f"on_{name}_score"),
            )
            for name in plan.side_effects
        ],
        "damage": measure_damage(
            trials.reader,
            Addition(dose.vector.layer, dose.vector.vector, dose.coefficient),
            steered,
            base,
            refusal=plan.refusal_vector(dose.vector.layer),
        ),
    }


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
        "paid": trials.paid,
        "unfinished": unfinished,
    }
