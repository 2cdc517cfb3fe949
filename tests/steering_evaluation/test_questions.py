"""Which questions are searched and which are held out, and what an evaluation costs."""

import pytest

from traitvec_core.settings.steering import Steering
from traitvec_core.steering_evaluation.evaluate import response_counts
from traitvec_core.steering_evaluation.questions import AskedQuestions, choose_questions
from traitvec_core.trait import TraitDefinition


def definition(n_own: int, n_eval: int = 0) -> TraitDefinition:
    return TraitDefinition.model_validate(
        {
            "instruction": [{"pos": "Sing.", "neg": "Talk."}],
            "questions": [f"Own {i}?" for i in range(n_own)],
            "eval_prompt": "{question} {answer}",
            "eval_questions": [f"Other {i}?" for i in range(n_eval)],
        }
    )


def asked(n_own: int, n_eval: int = 0, seed: int = 0, n: int = 40) -> AskedQuestions:
    return choose_questions(definition(n_own, n_eval), 20, n, seed)


def test_the_search_asks_the_own_questions_and_the_report_all_eval_questions() -> None:
    found = asked(20, 12)
    assert found.search == [f"Own {i}?" for i in range(20)]
    assert found.held_out == [f"Other {i}?" for i in range(12)]
    assert found.held_out_from == "eval_questions"
    assert found.notes == []


@pytest.mark.parametrize(
    ("n", "held_out"), [(2, 1), (3, 2), (6, 3), (10, 5), (12, 7), (15, 10), (20, 10), (30, 15)]
)
def test_without_eval_questions_the_own_ones_are_split(n: int, held_out: int) -> None:
    found = asked(n)
    assert len(found.held_out) == held_out
    assert len(found.search) == min(20, n - held_out)
    assert not set(found.search) & set(found.held_out)
    assert found.held_out_from == "questions"
    assert "no eval_questions" in found.notes[0]
    assert len({tuple(asked(n, seed=seed).held_out) for seed in range(8)}) > 1


def test_what_both_lists_ask_is_only_held_out() -> None:
    both = definition(4).model_copy(update={"eval_questions": ["Own 1?", "Own 3?", "New?"]})
    found = choose_questions(both, 20, 40, 0)
    assert found.search == ["Own 0?", "Own 2?"]
    assert found.held_out == ["Own 1?", "Own 3?", "New?"]


def test_few_held_out_questions_are_noted() -> None:
    (note,) = asked(20, 9).notes
    assert note.startswith("9 held-out questions are few")
    assert "add eval_questions to the trait's definition" in note


def test_large_sets_are_sampled() -> None:
    found = asked(50, 50)
    assert len(found.search) == 20
    assert len(found.held_out) == 20
    assert found.held_out == sorted(found.held_out, key=lambda text: int(text.split()[1][:-1]))
    assert len(asked(50, 50, n=10).held_out) == 10


@pytest.mark.parametrize("n_eval", [0, 10, 20, 40, 200])
def test_an_evaluation_costs_at_most_1_3_times_what_it_did(n_eval: int) -> None:
    found = asked(20, n_eval)
    before = 17 * 20 + 10 * 40
    now = sum(response_counts(len(found.held_out), Steering()))
    assert now == 900
    assert now / before <= 1.3
