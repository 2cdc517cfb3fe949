"""What a steering evaluation finds, on the model that ships."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.steering_evaluation.tiny import fingerprint, separation_of
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_responses, plan_responses
from traitvec_core.judging import JudgementStore, LocalJudge
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.steering import Ablation, Addition
from traitvec_core.steering_evaluation.evaluate import SteeringPlan, evaluate_steering
from traitvec_core.steering_evaluation.intervals import moved_by
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.steering_evaluation.result import SteeringOptions as Options
from traitvec_core.steering_evaluation.trials import Condition, Round, Trials, TrialSetup
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.validation.elicitation import question_of
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors.extract import TraitVector, extract_vectors

pytestmark = pytest.mark.slow

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "demo"
# Long enough for every trait; the 150 tokens of an experiment take twice as long.
BRIEF = Sampling(max_new_tokens=80)


@cache
def embedded() -> LanguageModel:
    return load_language_model("embedded")


@cache
def judge() -> LocalJudge:
    return LocalJudge(embedded())


STORE = JudgementStore()


@cache
def definition_of(trait: str) -> TraitDefinition:
    path = DEMO / trait / "trait_definition.json"
    return parse_definition(path.read_bytes(), str(path))


@cache
def extracted(trait: str) -> tuple[list[TraitVector], Separation]:
    """Mean differences from 20 responses a pole: less than an experiment takes, and enough."""
    definition, model = definition_of(trait), embedded()
    table = generate_responses(model, plan_responses(trait, definition, 20), BRIEF)
    activations = capture_means(model, list(zip(table["prompt"], table["response"], strict=True)))
    is_positive = (table["pole"] == "pos").to_numpy()
    groups = np.array([question_of(name) for name in table["question_id"]])
    vectors = extract_vectors(
        activations, is_positive, groups, layers=[1, 3, 5], methods=["mean_diff"]
    )
    return vectors, separation_of(vectors)


def setup_of(trait: str, **others: Any) -> TrialSetup:
    return TrialSetup(embedded(), judge(), definition_of(trait), BRIEF, STORE, **others)


@pytest.fixture(scope="module")
def refusal() -> SteeringEvaluation:
    vectors, separation = extracted("refusal")
    plan = SteeringPlan(vectors[1:2], separation, Options(n_search=10, n_held_out=30, n_random=8))
    return evaluate_steering(setup_of("refusal", is_about_refusing=True), plan)


def test_the_recommended_vector_steers_and_a_random_one_does_not(
    refusal: SteeringEvaluation,
) -> None:
    chosen, steered = refusal.tested, refusal.steered
    assert chosen is not None
    assert steered is not None
    assert chosen.chosen_by == "steering"
    assert (steered.trait_moved.value or 0) >= 20
    assert (steered.trait_moved.low or 0) > 0
    assert (steered.coherence.value or 0) >= 50
    test = refusal.test
    assert test.steers
    assert test.effect == steered.trait_moved
    assert test.bound is not None
    assert test.random_mean is not None
    assert abs(test.random_mean) < 20
    assert (test.n_random, test.n_questions) == (8, len(refusal.held_out_questions))
    assert test.n_trials == len(refusal.search) - 1
    assert (refusal.prompted.trait.value or 0) > 80


def test_the_response_rises_with_the_dose_on_both_sides(refusal: SteeringEvaluation) -> None:
    chosen = refusal.tested
    assert chosen is not None
    doses = [scores.coefficient for scores in refusal.dose_response]
    parts = [-1.0, 0.0, 0.5, 1.0, 1.5]
    assert doses == pytest.approx([part * chosen.coefficient for part in parts], rel=1e-5)
    means = [scores.trait.value or 0 for scores in refusal.dose_response]
    assert means[0] < means[1] - 10
    assert means[1] + 10 < means[2] + 10 < means[3] + 5
    assert refusal.dose_response[1] == refusal.unsteered
    for scores in refusal.dose_response:
        assert scores.n == 30
        assert len({answer.question for answer in scores.examples}) == 3


def test_what_is_reported_was_not_chosen_on(refusal: SteeringEvaluation) -> None:
    definition = definition_of("refusal")
    # Half as many as responses; the rest of the list is not asked.
    assert len(refusal.held_out_questions) == 15
    assert set(refusal.held_out_questions) < set(definition.eval_questions)
    assert set(refusal.search_questions) < set(definition.questions)
    assert len(refusal.search_questions) == 10
    table = refusal.responses
    halves = {half: set(rows["question"]) for half, rows in table.groupby("half")}
    assert halves["search"] == set(refusal.search_questions)
    assert halves["held_out"] == set(refusal.held_out_questions)
    assert len(table) == refusal.n_generated == 10 * len(refusal.search) + 30 * 6 + 15 * 8
    assert table["question_id"].is_unique
    assert "chosen by steering on other questions" in str(refusal.tested)


def test_the_damage_is_that_of_a_dose_that_works(refusal: SteeringEvaluation) -> None:
    damage = refusal.damage
    assert damage is not None
    assert (damage.kl_per_token or 0) > 0.01
    assert (damage.perplexity_steered or 0) > (damage.perplexity_unsteered or 0) > 1
    assert damage.looping_steered < 0.3


def test_it_goes_through_json(refusal: SteeringEvaluation) -> None:
    text = refusal.model_dump_json()
    again = SteeringEvaluation.model_validate_json(text)
    assert again.model_dump_json() == text
    assert "responses" not in json.loads(text)


# What a search over all methods and layers recommends, at the layer and coefficient it names.
RECOMMENDED = {"uncertainty": (5, 2.0), "verbosity": (1, 4.0)}


def trials_of(trait: str, **others: Any) -> Trials:
    return Trials(setup_of(trait, **others), definition_of(trait).eval_questions)


@pytest.mark.parametrize("trait", RECOMMENDED)
def test_the_other_traits_are_moved_by_their_vector_and_not_by_a_random_one(trait: str) -> None:
    layer, coefficient = RECOMMENDED[trait]
    vector = next(v.vector for v in extracted(trait)[0] if v.layer == layer)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(0))
    noise *= vector.norm() / noise.norm()
    tables = trials_of(trait).run(
        Round(
            [
                Condition("unsteered"),
                Condition("steered", (Addition(layer, vector, coefficient),)),
                Condition("random", (Addition(layer, noise, coefficient),)),
            ],
            range(10),
            20,
        )
    )
    moved = moved_by(tables["steered"], tables["unsteered"], "trait_score")
    by_chance = moved_by(tables["random"], tables["unsteered"], "trait_score")
    assert (moved.value or 0) >= 40
    assert tables["steered"]["coherence_score"].mean() >= 70
    # Over 20 responses; over more it is less than 10.
    assert by_chance.value is not None
    assert abs(by_chance.value) < 20


def test_ablating_the_refusal_vector_lowers_refusals() -> None:
    before = fingerprint(embedded())
    vector = next(v.vector for v in extracted("refusal")[0] if v.layer == 3)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(0))
    tables = trials_of("refusal", is_about_refusing=True).run(
        Round(
            [
                Condition("unsteered"),
                Condition("ablated", (Ablation(3, vector),)),
                Condition("random", (Ablation(3, noise),)),
            ],
            range(10),
            30,
        )
    )
    means = {name: table["trait_score"].mean() for name, table in tables.items()}
    assert means["ablated"] < means["unsteered"] - 15
    assert abs(means["random"] - means["unsteered"]) < 12
    assert tables["ablated"]["coherence_score"].mean() >= 80
    assert torch.equal(fingerprint(embedded()), before)
