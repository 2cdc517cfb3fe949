"""How a steering evaluation works, on a tiny model with a judge that counts."""

from typing import Any

import pandas as pd
import pytest
import torch

from tests.steering_evaluation.tiny import (
    FEW,
    QUESTIONS,
    SHORT,
    TINY,
    VECTORS,
    CountingJudge,
    evaluate,
    usual,
    vector_of,
)
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.judging import JudgementStore
from traitvec_core.models.steering import Addition
from traitvec_core.steering_evaluation.result import SteeringOptions as Options
from traitvec_core.steering_evaluation.trials import TrialLog


def test_a_killed_call_goes_on_where_it_was() -> None:
    rows: list[dict[str, Any]] = []
    whole = evaluate(log=TrialLog(append=rows.extend))
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
            evaluate(store=store, log=TrialLog(append=until))
        more: list[dict[str, Any]] = []
        again = evaluate(store=store, log=TrialLog(kept, more.extend))
        assert {row["id"] for row in more}.isdisjoint(row["id"] for row in kept)
        assert len(more) + len(kept) == len(rows)
        spent = {"paid"}
        assert again.model_dump(exclude=spent) == whole.model_dump(exclude=spent)
        pd.testing.assert_frame_equal(again.responses, whole.responses)
    done: list[dict[str, Any]] = []
    evaluate(log=TrialLog(rows, done.extend))
    assert done == []


def test_results_do_not_depend_on_the_batch_size() -> None:
    for size in (1, 3):
        assert evaluate(batch_size=size).model_dump() == usual().model_dump()


def test_the_seed_decides_the_halves() -> None:
    bare = TINY.model_copy(update={"questions": QUESTIONS, "eval_questions": []})
    found = {
        tuple(
            evaluate(
                definition=bare,
                vectors=VECTORS[:1],
                sampling=SHORT.model_copy(update={"seed": seed}),
            ).search_questions
        )
        for seed in range(3)
    }
    assert len(found) > 1
    for questions in found:
        assert len(questions) == 3
        assert set(questions) < set(QUESTIONS)


def test_progress_rises_and_stays_within_its_total() -> None:
    seen: list[tuple[int, int]] = []
    whole = evaluate(on_progress=lambda done, total, note, left_s: seen.append((done, total)))
    counts = [done for done, _ in seen]
    assert counts == sorted(counts)
    assert counts[-1] == whole.n_generated <= seen[0][1]
    assert len({total for _, total in seen}) == 1


def test_time_is_left_until_the_last_response_is_judged() -> None:
    seen: list[tuple[str, float | None]] = []
    evaluate(on_progress=lambda done, total, note, left_s: seen.append((note, left_s)))
    first_judged = next(n for n, (note, _) in enumerate(seen) if note.startswith("judged"))
    assert {left_s for _, left_s in seen[:first_judged]} == {None}
    assert all(left_s is not None and left_s >= 0 for _, left_s in seen[first_judged:])
    assert any(left_s for _, left_s in seen[first_judged:])


def test_the_length_of_the_vectors_does_not_matter() -> None:
    longer = [vector_of(v.layer, v.method, 60.0) for v in VECTORS]
    first, second = usual(), evaluate(vectors=longer)
    assert first.tested is not None
    assert second.tested is not None
    assert second.tested.layer == first.tested.layer
    assert second.tested.method == first.tested.method
    assert second.tested.coefficient == pytest.approx(first.tested.coefficient / 10)


def test_the_order_of_the_vectors_does_not_matter() -> None:
    assert evaluate(vectors=VECTORS[::-1]).tested == usual().tested


def test_missing_judgements_are_missing_and_never_zero() -> None:
    whole = usual()
    # One of the held-out questions is never scored for the trait.
    lost = whole.held_out_questions[0]
    part = evaluate(CountingJudge(lambda prompt: prompt.startswith("Trait?") and lost in prompt))
    assert part.unfinished == {"told to": part.unfinished["told to"]}
    assert part.unsteered.n == 8
    assert part.unsteered.n_coherence == 8
    rows = part.responses
    rows = rows[(rows["condition"] == "unsteered") & (rows["half"] == "held_out")]
    scored = rows[rows["question"] != lost]
    assert part.unsteered.n_trait == len(scored) < 8
    assert part.unsteered.trait.value == pytest.approx(scored["trait_score"].mean())
    assert rows.loc[rows["question"] == lost, "trait_score"].isna().all()


def test_without_scores_nothing_is_chosen_by_steering() -> None:
    nothing = evaluate(CountingJudge(lambda prompt: True), side_effects={"other": TINY})
    assert nothing.unsteered.trait == Estimate()
    assert nothing.unsteered.trait_moved == Estimate()
    empty: list[Any] = [nothing.dose_response, nothing.random, nothing.side_effects]
    assert empty == [[], [], []]
    assert nothing.damage is None
    assert not nothing.test.steers
    assert "no dose raised the trait score" in str(nothing.test.untested)
    assert nothing.test.n_trials == len(nothing.search) - 1
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
        side_effects={
            "trait": TINY,
            "other": TINY.model_copy(update={"eval_prompt": "{answer}{question}"}),
        }
    )
    same, other = whole.side_effects
    assert (same.trait, other.trait) == ("trait", "other")
    assert whole.steered is not None
    assert (same.steered, same.unsteered) == (whole.steered.trait, whole.unsteered.trait)
    assert same.moved == whole.steered.trait_moved
    assert other.steered.value is not None
    assert other.steered != same.steered
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
    assert "add eval_questions to the trait's definition" in bare.notes[1]
    assert usual().questions_from == "eval_questions"
    assert usual().search_questions == TINY.questions
    assert usual().held_out_questions == QUESTIONS
    assert ["add eval_questions" in note for note in usual().notes] == [True]


def test_few_responses_are_spread_over_as_few_questions() -> None:
    few = evaluate(options=Options(n_search=2, n_held_out=4, n_random=2, min_coherence=0))
    asked = few.responses
    assert set(asked["question"]) == {*few.search_questions, *few.held_out_questions}
    assert set(asked.groupby("condition")["question"].nunique()) <= {2, 4, 6}
    assert {scores.n for scores in few.random} == {4}


def test_the_prompted_baseline_takes_every_positive_instruction_in_turn() -> None:
    table = usual().responses
    prompted = table[table["condition"] == "prompted"]
    assert prompted["instruction"].value_counts().to_dict() == {"Sing.": 4, "Dance.": 4}
    assert set(prompted["half"]) == {"held_out"}
    for row in prompted.to_dict("records"):
        assert row["instruction"] in row["prompt"]


def test_random_directions_have_the_length_of_the_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Addition] = []
    original = Addition.operand

    def note(self: Addition, like: torch.Tensor) -> torch.Tensor:
        added.append(self)
        return original(self, like)

    monkeypatch.setattr(Addition, "operand", note)
    whole = evaluate()
    chosen = whole.tested
    assert chosen is not None
    ours = [vector.vector for vector in VECTORS]
    controls = [a for a in added if not any(torch.equal(a.vector, vector) for vector in ours)]
    assert len({tuple(control.vector.tolist()) for control in controls}) == FEW.n_random
    for control in controls:
        assert control.layer == chosen.layer
        assert control.coefficient == chosen.coefficient
        assert float(control.vector.norm()) == pytest.approx(6.0, rel=1e-5)


def test_no_vector_is_an_error() -> None:
    with pytest.raises(TraitvecError, match="no vector to steer with"):
        evaluate(vectors=[])
