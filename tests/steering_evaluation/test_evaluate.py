"""Steering evaluation: on the embedded model for what it finds, on a tiny one for how it works."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.architectures import make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_responses, plan_responses
from traitvec_core.judging import JudgementStore, LocalJudge
from traitvec_core.judging.reading import Judgement
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.steering import Ablation, Addition
from traitvec_core.steering_evaluation.evaluate import evaluate_steering
from traitvec_core.steering_evaluation.result import Interval, Scores, SteeringEvaluation
from traitvec_core.steering_evaluation.result import SteeringOptions as Options
from traitvec_core.steering_evaluation.search import MAX_TRIALS, Dose, choose, search_doses
from traitvec_core.steering_evaluation.trials import Condition, Trials, interval_of, moved_by
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.validation.elicitation import question_of
from traitvec_core.validation.separation import Separation, SeparationScore
from traitvec_core.vectors.extract import TraitVector, extract_vectors

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "demo"
# Long enough for every trait; the 150 tokens of an experiment take twice as long.
BRIEF = Sampling(max_new_tokens=80)


# -- what it finds, on the model that ships ---------------------------------------------------


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


@pytest.fixture(scope="module")
def refusal() -> SteeringEvaluation:
    vectors, separation = extracted("refusal")
    return evaluate_steering(
        embedded(), judge(), definition_of("refusal"), vectors[1:2], separation,
        BRIEF, store=STORE, is_about_refusing=True,
        options=Options(n_search=10, n_held_out=30, n_random=1),
    )  # fmt: skip


def test_the_recommended_vector_steers_and_a_random_one_does_not(
    refusal: SteeringEvaluation,
) -> None:
    chosen, steered = refusal.recommendation, refusal.steered
    assert chosen is not None
    assert steered is not None
    assert chosen.chosen_by == "steering"
    assert steered.trait_moved is not None
    assert steered.coherence is not None
    assert refusal.random_moved is not None
    assert steered.trait_moved.mean >= 40
    assert steered.trait_moved.low > 0
    assert steered.coherence.mean >= 50
    # Over 30 responses; over more it is less than 10.
    assert abs(refusal.random_moved.mean) < 20
    assert refusal.prompted.trait is not None
    assert refusal.prompted.trait.mean > 80


def test_the_response_rises_with_the_dose_on_both_sides(refusal: SteeringEvaluation) -> None:
    chosen = refusal.recommendation
    assert chosen is not None
    doses = [scores.coefficient for scores in refusal.dose_response]
    parts = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5]
    assert doses == pytest.approx([part * chosen.coefficient for part in parts], rel=1e-5)
    means = [scores.trait.mean for scores in refusal.dose_response if scores.trait is not None]
    assert len(means) == 6
    assert means[0] < means[2] - 10
    assert means[2] + 10 < means[3] + 10 < means[4] + 5
    assert refusal.dose_response[2] == refusal.unsteered
    for scores in refusal.dose_response:
        assert scores.n == 30
        assert len({answer.question for answer in scores.examples}) == 3


def test_what_is_reported_was_not_chosen_on(refusal: SteeringEvaluation) -> None:
    asked = {*refusal.search_questions, *refusal.held_out_questions}
    assert asked == set(definition_of("refusal").eval_questions)
    assert len(refusal.search_questions) == len(refusal.held_out_questions) == 5
    table = refusal.responses
    halves = {half: set(rows["question"]) for half, rows in table.groupby("half")}
    assert halves["search"] == set(refusal.search_questions)
    assert halves["held_out"] == set(refusal.held_out_questions)
    assert len(table) == refusal.n_generated == 10 * len(refusal.search) + 30 * 8
    assert table["question_id"].is_unique
    assert "chosen by steering on the other half" in str(refusal.recommendation)


def test_it_goes_through_json(refusal: SteeringEvaluation) -> None:
    text = refusal.model_dump_json()
    again = SteeringEvaluation.model_validate_json(text)
    assert again.model_dump_json() == text
    assert "responses" not in json.loads(text)


# What a search over all methods and layers recommends, at the layer and coefficient it names.
RECOMMENDED = {"uncertainty": (5, 2.0), "verbosity": (1, 4.0)}


def trials_of(trait: str, **others: Any) -> Trials:
    definition = definition_of(trait)
    return Trials(
        embedded(), judge(), definition, definition.eval_questions, BRIEF, STORE, **others
    )


@pytest.mark.parametrize("trait", RECOMMENDED)
def test_the_other_traits_are_moved_by_their_vector_and_not_by_a_random_one(trait: str) -> None:
    layer, coefficient = RECOMMENDED[trait]
    vector = next(v.vector for v in extracted(trait)[0] if v.layer == layer)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(0))
    noise *= vector.norm() / noise.norm()
    tables = trials_of(trait).run(
        [
            Condition("unsteered"),
            Condition("steered", Addition(layer, vector, coefficient)),
            Condition("random", Addition(layer, noise, coefficient)),
        ],
        range(10),
        30,
    )
    moved = moved_by(tables["steered"], tables["unsteered"], "trait_score", 0)
    by_chance = moved_by(tables["random"], tables["unsteered"], "trait_score", 0)
    assert moved is not None
    assert by_chance is not None
    assert moved.mean >= 40
    assert tables["steered"]["coherence_score"].mean() >= 70
    # Over 30 responses; over more it is less than 10.
    assert abs(by_chance.mean) < 20


def test_ablating_the_refusal_vector_lowers_refusals() -> None:
    model = embedded()
    vector = next(v.vector for v in extracted("refusal")[0] if v.layer == 3)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(0))
    tables = trials_of("refusal", is_about_refusing=True).run(
        [
            Condition("unsteered"),
            Condition("ablated", Ablation(3, vector)),
            Condition("random", Ablation(3, noise)),
        ],
        range(10),
        30,
    )
    means = {name: table["trait_score"].mean() for name, table in tables.items()}
    assert means["ablated"] < means["unsteered"] - 15
    assert abs(means["random"] - means["unsteered"]) < 12
    assert tables["ablated"]["coherence_score"].mean() >= 80
    assert all(not block._forward_hooks for block in model.blocks)


# -- how it works, on a tiny model with a judge that counts -----------------------------------


@cache
def tiny() -> LanguageModel:
    return make_model()


class CountingJudge:
    """Scores an answer by its letters; what it is told to leave out is missing."""

    name = "counting"
    identity = '{"model": "counting"}'

    def __init__(self, is_missing: Callable[[str], bool] = lambda prompt: False) -> None:
        self.is_missing = is_missing
        self.prompts: list[str] = []

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int = 0,
    ) -> None:
        # The judge may be the very model that is steered: it must never be while it judges.
        model = tiny()
        assert not any(block._forward_hooks for block in model.blocks)
        new = [prompt for prompt in prompts if not is_known(prompt)]
        self.prompts += new
        if new:
            on_batch({prompt: self._one(prompt) for prompt in new})

    def _one(self, prompt: str) -> Judgement:
        if self.is_missing(prompt):
            return Judgement(None, "error", "told to", is_final=False)
        # Raw bytes of an untrained model make up most of the answer.
        vowels = sum(prompt.count(letter) for letter in "aeiouAEIOU\u0120 ")
        return Judgement(100 * min(1.0, vowels / max(1, len(prompt))), "ok")


QUESTIONS = [f"What is number {i}?" for i in range(7)]
TINY = TraitDefinition.model_validate(
    {
        "instruction": [{"pos": "Sing.", "neg": "Talk."}, {"pos": "Dance.", "neg": "Walk."}],
        "questions": ["Is it 1?", "Is it 2?", "Is it 3?"],
        "eval_prompt": "Trait? {question} {answer}",
        "eval_questions": QUESTIONS,
    }
)
SHORT = Sampling(max_new_tokens=5, seed=3)
FEW = Options(n_search=4, n_held_out=8, n_random=2, min_coherence=0)


def vector_of(layer: int, method: Any = "mean_diff", length: float = 6.0) -> TraitVector:
    generator = torch.Generator().manual_seed(layer + 7 * len(method))
    drawn = torch.randn(tiny().hidden_dim, generator=generator)
    return TraitVector(
        method=method, layer=layer, vector=drawn * length / drawn.norm(), vector_norm=length,
        raw_norm=1.0, relative_norm=length / 10, separation=6.0, train_accuracy=1.0,
    )  # fmt: skip


def separation_of(vectors: Sequence[TraitVector]) -> Separation:
    scores = [
        SeparationScore(
            method=v.method, layer=v.layer, accuracy=1, auroc=1, effect_size=1 + v.layer / 10
        )
        for v in vectors
    ]
    return Separation(scores=scores, probe_accuracy=1.0, n_folds=5, n_held_out=10)


VECTORS = [vector_of(layer, method) for method in ("mean_diff", "probe") for layer in (1, 2, 3)]


def evaluate(
    judge: CountingJudge | None = None,
    definition: TraitDefinition = TINY,
    vectors: Sequence[TraitVector] = VECTORS,
    options: Options = FEW,
    **others: Any,
) -> SteeringEvaluation:
    return evaluate_steering(
        tiny(), judge or CountingJudge(), definition, vectors, separation_of(vectors), SHORT,
        options=options, **others,
    )  # fmt: skip


@cache
def usual() -> SteeringEvaluation:
    return evaluate()


def test_a_killed_call_goes_on_where_it_was() -> None:
    rows: list[dict[str, Any]] = []
    whole = evaluate(on_finished=rows.extend)
    assert len(rows) == whole.n_generated == len({row["id"] for row in rows})

    class Killed(Exception):
        pass

    for k in (5, len(rows) - 10):
        kept: list[dict[str, Any]] = []

        def until(new: list[dict[str, Any]], kept: list[dict[str, Any]] = kept, k: int = k) -> None:
            kept.extend(new)
            if len(kept) > k:
                raise Killed

        store = JudgementStore()
        with pytest.raises(Killed):
            evaluate(store=store, on_finished=until)
        more: list[dict[str, Any]] = []
        again = evaluate(store=store, finished=kept, on_finished=more.extend)
        assert {row["id"] for row in more}.isdisjoint(row["id"] for row in kept)
        assert len(more) + len(kept) == len(rows)
        spent = {"paid"}
        assert again.model_dump(exclude=spent) == whole.model_dump(exclude=spent)
        pd.testing.assert_frame_equal(again.responses, whole.responses)
    done: list[dict[str, Any]] = []
    evaluate(finished=rows, on_finished=done.extend)
    assert done == []


def test_results_do_not_depend_on_the_batch_size() -> None:
    for size in (1, 3):
        assert evaluate(batch_size=size).model_dump() == usual().model_dump()


def test_the_seed_decides_the_halves() -> None:
    found = {
        tuple(
            evaluate_steering(
                tiny(), CountingJudge(), TINY, VECTORS[:1], separation_of(VECTORS[:1]),
                SHORT.model_copy(update={"seed": seed}), options=FEW,
            ).search_questions
        )
        for seed in range(3)
    }  # fmt: skip
    assert len(found) > 1
    for questions in found:
        assert len(questions) == 4
        assert set(questions) < set(QUESTIONS)


def test_progress_rises_and_stays_within_its_total() -> None:
    seen: list[tuple[int, int]] = []
    whole = evaluate(on_progress=lambda done, total, note: seen.append((done, total)))
    counts = [done for done, _ in seen]
    assert counts == sorted(counts)
    assert counts[-1] == whole.n_generated <= seen[0][1]
    assert len({total for _, total in seen}) == 1


def test_the_length_of_the_vectors_does_not_matter() -> None:
    longer = [vector_of(v.layer, v.method, 60.0) for v in VECTORS]
    first, second = usual(), evaluate(vectors=longer)
    assert first.recommendation is not None
    assert second.recommendation is not None
    assert second.recommendation.layer == first.recommendation.layer
    assert second.recommendation.method == first.recommendation.method
    assert second.recommendation.coefficient == pytest.approx(first.recommendation.coefficient / 10)


def test_the_order_of_the_vectors_does_not_matter() -> None:
    assert evaluate(vectors=VECTORS[::-1]).recommendation == usual().recommendation


def test_missing_judgements_are_missing_and_never_zero() -> None:
    whole = usual()
    # One of the held-out questions is never scored for the trait.
    lost = whole.held_out_questions[0]
    part = evaluate(CountingJudge(lambda prompt: prompt.startswith("Trait?") and lost in prompt))
    assert part.unfinished == {"told to": part.unfinished["told to"]}
    assert part.unsteered.n == 8
    assert part.unsteered.trait is not None
    assert part.unsteered.coherence is not None
    assert part.unsteered.coherence.n == 8
    rows = part.responses
    rows = rows[(rows["condition"] == "unsteered") & (rows["half"] == "held_out")]
    scored = rows[rows["question"] != lost]
    assert part.unsteered.trait.n == len(scored) < 8
    assert part.unsteered.trait.mean == pytest.approx(scored["trait_score"].mean())
    assert rows.loc[rows["question"] == lost, "trait_score"].isna().all()


def test_without_scores_nothing_is_chosen_by_steering() -> None:
    nothing = evaluate(CountingJudge(lambda prompt: True), also={"other": TINY})
    assert nothing.unsteered.trait is None
    assert nothing.unsteered.trait_moved is None
    empty: list[Any] = [nothing.dose_response, nothing.random, nothing.side_effects]
    assert empty == [[], [], []]
    assert nothing.random_moved is None
    assert nothing.steered is None
    found = nothing.recommendation
    assert found is not None
    assert found.chosen_by == "held-out separation"
    assert found.layer == 3
    assert "steering found nothing" in found.why
    assert "does not show that the vector steers" in found.why


def test_what_is_not_coherent_is_not_chosen() -> None:
    strict = evaluate(options=FEW.model_copy(update={"min_coherence": 100.0}))
    assert strict.recommendation is not None
    assert strict.recommendation.chosen_by == "held-out separation"
    assert "coherence of at least 100" in strict.recommendation.why


def test_side_effects_are_other_rubrics_of_the_same_responses() -> None:
    # A name that would take the place of a column, and the trait's own rubric under it.
    whole = evaluate(
        also={"trait": TINY, "other": TINY.model_copy(update={"eval_prompt": "{answer}{question}"})}
    )
    same, other = whole.side_effects
    assert (same.trait, other.trait) == ("trait", "other")
    assert whole.steered is not None
    assert (same.steered, same.unsteered) == (whole.steered.trait, whole.unsteered.trait)
    assert same.moved == whole.steered.trait_moved
    assert other.steered is not None
    assert other.steered != same.steered
    assert other.steered.n == 8
    assert whole.model_dump(include={"search", "dose_response"}) == usual().model_dump(
        include={"search", "dose_response"}
    )


@pytest.mark.parametrize("questions", [[], ["Only one?"]])
def test_a_trait_without_eval_questions_is_asked_its_own_and_it_is_said(
    questions: list[str],
) -> None:
    bare = evaluate(definition=TINY.model_copy(update={"eval_questions": questions}))
    assert bare.questions_from == "questions"
    assert "no eval_questions" in bare.notes[0]
    asked = {*bare.search_questions, *bare.held_out_questions}
    assert asked == set(TINY.questions)
    assert usual().questions_from == "eval_questions"
    assert usual().notes == ["3 held-out questions: intervals over so few are too narrow"]


def test_every_question_is_asked_however_few_responses_are_wanted() -> None:
    few = evaluate(options=Options(n_search=2, n_held_out=2, n_random=1, min_coherence=0))
    assert set(few.responses["question"]) == set(QUESTIONS)


def test_the_prompted_baseline_takes_every_positive_instruction_in_turn() -> None:
    table = usual().responses
    prompted = table[table["condition"] == "prompted"]
    assert prompted["instruction"].value_counts().to_dict() == {"Sing.": 4, "Dance.": 4}
    assert set(prompted["half"]) == {"held_out"}
    for row in prompted.to_dict("records"):
        assert row["instruction"] in row["prompt"]


def test_random_directions_have_the_length_of_the_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Addition] = []
    original = Addition.on

    def note(self: Addition, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        added.append(self)
        return original(self, like)

    monkeypatch.setattr(Addition, "on", note)
    whole = evaluate()
    chosen = whole.recommendation
    assert chosen is not None
    controls = added[-2:]
    for control in controls:
        assert control.layer == chosen.layer
        assert control.coefficient == chosen.coefficient
        assert float(control.vector.norm()) == pytest.approx(6.0, rel=1e-5)
    assert not torch.equal(controls[0].vector, controls[1].vector)


def test_no_vector_is_an_error() -> None:
    with pytest.raises(TraitvecError, match="no vector to steer with"):
        evaluate(vectors=[])


# -- the search ----------------------------------------------------------------------------------


def scores_of(trait: float | None, coherence: float | None, base: float = 30.0) -> Scores:
    def interval(mean: float | None) -> Interval | None:
        return None if mean is None else Interval(mean=mean, low=mean - 4, high=mean + 4, n=10)

    return Scores(
        condition="", method=None, layer=None, coefficient=0, n=10, trait=interval(trait),
        coherence=interval(coherence), coherence_moved=None, mean_tokens=1, truncated=0,
        trait_moved=interval(None if trait is None else trait - base), examples=[],
    )  # fmt: skip


@settings(max_examples=60)
@given(
    n_layers=st.integers(1, 40),
    gain=st.floats(-30, 60),
    cost=st.floats(0, 60),
    peak=st.floats(0, 1),
    methods=st.lists(
        st.sampled_from(["mean_diff", "probe", "ica", "gradient", "pca_diff", "random"]),
        min_size=1, unique=True,
    ),
)  # fmt: skip
def test_the_search_is_short_and_never_chooses_what_is_not_coherent(
    n_layers: int, gain: float, cost: float, peak: float, methods: list[str]
) -> None:
    vectors = [vector_of(layer, method) for method in methods for layer in range(n_layers + 1)]
    asked: list[Condition] = []

    def run(conditions: list[Condition]) -> list[Scores]:
        asked.extend(conditions)
        found = []
        for item in conditions:
            assert item.layer is not None
            near = math.exp(-(((item.layer / n_layers - peak) / 0.3) ** 2))
            trait = min(97.0, max(3.0, 30 + gain * near * item.coefficient))
            found.append(scores_of(trait, max(5.0, 90 - cost * max(0, item.coefficient - 1))))
        return found

    tried = search_doses(vectors, separation_of(vectors), run, min_coherence=50)
    assert len(tried) == len(asked) <= MAX_TRIALS
    assert len({item.name for item in asked}) == len(asked)
    assert all(item.layer and item.method != "random" for item in asked)
    dose = choose(tried, 50)
    good = [s.trait.mean for _, s in tried if s.is_coherent(50) and s.trait and s.trait.mean > 30]
    assert (dose is None) == (not good)
    if dose is not None:
        scores = next(s for d, s in tried if d == dose)
        assert scores.trait is not None
        assert scores.is_coherent(50)
        assert scores.trait.mean >= max(good) - 3
        assert dose.coefficient > 0


def test_of_equal_scores_the_gentlest_is_chosen() -> None:
    gentle, strong = Dose(vector_of(1, length=2.0), 1.0), Dose(vector_of(2), 2.0)
    assert choose([(strong, scores_of(80, 90)), (gentle, scores_of(78, 90))], 50) == gentle
    assert choose([(strong, scores_of(80, 90)), (gentle, scores_of(70, 90))], 50) == strong
    assert choose([(strong, scores_of(80, 40)), (gentle, scores_of(70, 90))], 50) == gentle
    assert choose([(strong, scores_of(20, 90)), (gentle, scores_of(None, None))], 50) is None


def test_few_scores_are_not_coherence() -> None:
    scores = scores_of(80, 90)
    assert scores.trait is not None
    scarce = scores.model_copy(update={"trait": scores.trait.model_copy(update={"n": 4})})
    assert scores.is_coherent(50)
    assert not scarce.is_coherent(50)


# -- intervals -------------------------------------------------------------------------------------


tables = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.integers(0, 100)), min_size=1, max_size=30
)


def frame(rows: Sequence[tuple[int, float | None]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["question_number", "trait_score"]).astype(
        {"trait_score": float}
    )


@settings(max_examples=60)
@given(rows=tables, shift=st.integers(-20, 20))
def test_intervals(rows: list[tuple[int, float | None]], shift: int) -> None:
    table = frame(rows)
    found = interval_of(table, "trait_score", 0)
    present = [score for _, score in rows if score is not None]
    assert (found is None) == (not present)
    if found is None:
        return
    assert found.n == len(present)
    assert found.mean == pytest.approx(np.mean(present))
    assert min(present) - 1e-9 <= found.low <= found.high <= max(present) + 1e-9
    shuffled = interval_of(table.sample(frac=1, random_state=1), "trait_score", 0)
    assert shuffled is not None
    assert shuffled.model_dump() == pytest.approx(found.model_dump())
    # Question by question the difference is the same everywhere: there is nothing to be unsure of.
    moved = moved_by(
        table.assign(trait_score=table["trait_score"] + shift), table, "trait_score", 0
    )
    assert moved is not None
    assert [moved.mean, moved.low, moved.high] == pytest.approx([shift] * 3, abs=1e-9)
