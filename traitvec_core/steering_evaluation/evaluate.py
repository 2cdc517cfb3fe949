"""Does a vector steer? Chosen on one half of the evaluation questions, measured on the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling, Steering
from traitvec_core.judging.judge import Judge
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.models.language_model import LanguageModel
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
    Trials,
    interval_of,
    moved_by,
    summarise,
)
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.recommend import Recommendation, recommend
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors.extract import TraitVector

__all__ = [
    "SideEffect",
    "SteeringEvaluation",
    "SteeringOptions",
    "evaluate_steering",
    "most_responses",
]

# Parts of the chosen coefficient; 0 is without steering.
_PARTS = (-1.0, -0.5, 0.5, 1.0, 1.5)
_UNSTEERED = Condition("unsteered")


def evaluate_steering(
    model: LanguageModel,
    judge: Judge,
    definition: TraitDefinition,
    vectors: Sequence[TraitVector],
    separation: Separation,
    sampling: Sampling,
    *,
    options: SteeringOptions = SteeringOptions(),
    also: Mapping[str, TraitDefinition] | None = None,
    store: JudgementStore | None = None,
    origin: Origin = Origin(),
    is_about_refusing: bool = False,
    instruction_role: str = "auto",
    batch_size: int | None = None,
    finished: Iterable[Mapping[str, Any]] = (),
    on_finished: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> SteeringEvaluation:
    """Choose layer, method and coefficient on half of the questions, and report the other half.

    Everything that is drawn follows from `sampling.seed` and from names, so that a call that is
    repeated with the rows and judgements of a killed one ends as that would have.

    Args:
        model: What is steered, loaded in this process.
        judge: What scores.
        definition: The trait. Its `eval_questions` are asked; its `questions` when there are none.
        vectors: What may be chosen.
        separation: Held-out separation of these vectors.
        sampling: Temperature, top-p, length and seed.
        options: How much is spent, and what is acceptable.
        also: Other traits by name, for side effects.
        store: Judgements that are known already, and where new ones go as they are made.
        origin: What asks, for the store.
        is_about_refusing: See `judge_responses`.
        instruction_role: Where the instruction of the prompted baseline goes.
        batch_size: Rows generated at once; None finds a number.
        finished: Rows of an earlier, interrupted call.
        on_finished: Called with rows (`id`, `response`, …) as they are generated.
        on_progress: Called with responses done, the most there can be, and a note.

    Raises:
        TraitvecError: If there is no vector, or the model cannot be steered.
    """
    if not vectors:
        raise TraitvecError("there is no vector to steer with; extract vectors first")
    questions, source, notes = _questions(definition)
    seed = sampling.seed
    halves = np.array_split(np.random.default_rng(seed).permutation(len(questions)), 2)
    first, second = (sorted(half.tolist()) for half in halves)
    if len(second) < 10:
        notes.append(f"{len(second)} held-out questions: intervals over so few are too narrow")
    n_search, n_held_out = max(options.n_search, len(first)), max(options.n_held_out, len(second))
    searched, held = most_responses(len(questions), options)
    total = searched + sum(held)
    trials = Trials(
        model, judge, definition, questions, sampling,
        store=store or JudgementStore(), origin=origin, is_about_refusing=is_about_refusing,
        instruction_role=instruction_role, batch_size=batch_size, finished=finished,
        on_finished=on_finished, on_progress=lambda done, note: on_progress(done, total, note),
    )  # fmt: skip

    start = trials.run([_UNSTEERED], first, n_search)["unsteered"]
    log = [summarise(_UNSTEERED, start, start, seed)]

    def run(conditions: list[Condition]) -> list[Scores]:
        tables = trials.run(conditions, first, n_search)
        found = [summarise(c, tables[c.name], start, seed) for c in conditions]
        log.extend(found)
        return found

    tried = search_doses(vectors, separation, run, min_coherence=options.min_coherence)
    dose = choose(tried, options.min_coherence)
    held_out = _held_out(trials, dose, second, n_held_out, options.n_random, also or {})
    evaluation = SteeringEvaluation(
        recommendation=None,
        notes=notes,
        questions_from=source,
        search_questions=[questions[i] for i in first],
        held_out_questions=[questions[i] for i in second],
        options=options,
        search=log,
        **held_out,
        **_spent(trials),
        responses=_whole(trials.tables, first),
    )
    evaluation.recommendation = _recommendation(evaluation, dose, vectors, separation)
    return evaluation


def most_responses(n_questions: int, options: SteeringOptions | Steering) -> tuple[int, list[int]]:
    """The most responses that an evaluation takes: of the search, and of each held-out condition.

    Args:
        n_questions: Questions that are asked.
        options: How many responses each condition takes, if there are not more questions.
    """
    n_first = -(-n_questions // 2)
    searched = (1 + MAX_TRIALS) * max(options.n_search, n_first)
    n_conditions = 2 + len(_PARTS) + options.n_random
    return searched, [max(options.n_held_out, n_questions - n_first)] * n_conditions


def _held_out(
    trials: Trials,
    dose: Dose | None,
    numbers: list[int],
    n: int,
    n_random: int,
    also: Mapping[str, TraitDefinition],
) -> dict[str, Any]:
    """The part of `SteeringEvaluation` that is measured on the held-out questions."""
    seed = trials.sampling.seed
    instructions = tuple(pair.pos for pair in trials.definition.instruction)
    prompted = Condition("prompted", instructions=instructions)
    doses = [] if dose is None else [dose_condition(dose, part) for part in _PARTS]
    random = [] if dose is None else _random(dose, n_random, seed)
    # Every other trait's rubric costs a judgement a row: it is put where it matters.
    chosen = [c for c in doses if dose is not None and c.coefficient == dose.coefficient]
    others = [c for c in [*doses, prompted, *random] if c not in chosen]
    named = {f"on_{name}": other for name, other in also.items()}
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
        "random_moved": (
            moved_by(pd.concat(pooled), base, "trait_score", seed) if pooled else None
        ),
        "side_effects": [
            SideEffect(
                trait=name,
                unsteered=interval_of(base, f"on_{name}_score", seed),
                steered=interval_of(tables[condition.name], f"on_{name}_score", seed),
                moved=moved_by(tables[condition.name], base, f"on_{name}_score", seed),
            )
            for name in also
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
            "the trait has no eval_questions (two or more): its own questions were asked, on which"
            " the vectors were extracted; no vector was fitted without the held-out half"
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
    evaluation: SteeringEvaluation,
    dose: Dose | None,
    vectors: Sequence[TraitVector],
    separation: Separation,
) -> Recommendation | None:
    least = evaluation.options.min_coherence
    if dose is None:
        found = recommend(separation, [(v.method, v.layer) for v in vectors])
        if found is not None:
            found.why = (
                f"steering found nothing: of {len(evaluation.search) - 1} trials none raised the"
                f" trait score at a coherence of at least {least:g}; {found.why}"
            )
        return found
    chosen = Recommendation(
        method=dose.vector.method,
        layer=dose.vector.layer,
        coefficient=dose.coefficient,
        chosen_by="steering",
        why="",
    )
    evaluation.recommendation = chosen
    steered, base = evaluation.steered, evaluation.unsteered
    random = [s.trait_moved.mean for s in evaluation.random if s.trait_moved is not None]
    name = f"{chosen.method} at layer {chosen.layer}, coefficient {chosen.coefficient:.3g}"
    by = f"chosen by steering on the other half ({len(evaluation.search) - 1} trials)"
    if steered is None or steered.trait is None or steered.trait_moved is None or not base.trait:
        chosen.why = (
            f"{name}: {by}; the held-out half has no scores, so nothing shows that it works"
        )
        return chosen
    moved = steered.trait_moved
    said = [
        f"{name} moves the trait score of held-out questions from {base.trait.mean:.0f} to"
        f" {steered.trait.mean:.0f} ({moved.mean:+.0f}, 95% interval {moved.low:+.0f} to"
        f" {moved.high:+.0f})"
    ]
    if steered.coherence and base.coherence:
        said.append(f"coherence {steered.coherence.mean:.0f} (unsteered {base.coherence.mean:.0f})")
    if random:
        each = ", ".join(f"{mean:+.0f}" for mean in random)
        said.append(f"random directions of the same length move it by {each}")
    if evaluation.prompted.trait is not None:
        said.append(f"the positive instruction alone reaches {evaluation.prompted.trait.mean:.0f}")
    said.append(by)
    if moved.low <= 0:
        said.append("the interval holds 0, so this may be chance")
    elif random and max(map(abs, random)) >= moved.mean / 2:
        said.append(
            "a random direction moves it half as far or more: much of this is not the trait"
        )
    if not steered.is_coherent(least):
        said.append(f"held out, it is not coherent enough ({least:g})")
    chosen.why = "; ".join(said)
    return chosen


def _whole(tables: Sequence[pd.DataFrame], first: Sequence[int]) -> pd.DataFrame:
    whole = pd.concat(tables, ignore_index=True)
    half = np.where(whole["question_number"].isin(first), "search", "held_out")
    return whole.assign(half=half).drop(columns=["pole", "question_number"])


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
