"""Which responses a trial takes from the plan."""

import json
from collections import Counter

import pytest

from traitvec_core import parse_definition, plan_responses
from traitvec_core.generation.plan import plan_trial
from traitvec_core.trait import TraitDefinition


def _definition(n_pairs: int, n_questions: int) -> TraitDefinition:
    raw = {
        "instruction": [{"pos": f"more {k}", "neg": f"less {k}"} for k in range(n_pairs)],
        "questions": [f"question {k}?" for k in range(n_questions)],
        "eval_prompt": "{question} {answer}",
    }
    return parse_definition(json.dumps(raw).encode(), "definition")


@pytest.mark.parametrize(
    ("n_pairs", "n_questions", "n_examples", "tried", "per_pair"),
    [(5, 20, 100, 5, 5), (10, 20, 100, 10, 5), (10, 20, 200, 5, 5), (10, 20, 30, 20, 3),
     (3, 4, 100, 4, 4), (7, 13, 91, 5, 5)],
)  # fmt: skip
def test_every_pair_meets_five_questions_of_the_plan(
    n_pairs: int, n_questions: int, n_examples: int, tried: int, per_pair: int
) -> None:
    definition = _definition(n_pairs, n_questions)
    trial = plan_trial("t", definition, n_examples)
    assert set(trial) <= set(plan_responses("t", definition, n_examples))
    assert len(set(trial)) == len(trial)
    counts = Counter(item.instruction for item in trial)
    assert set(counts.values()) == {per_pair}
    assert len(counts) == 2 * n_pairs
    assert len({item.question for item in trial}) <= tried
    # Both poles have the same combinations.
    poles = Counter(item.question_id.replace("_pos_", "_neg_") for item in trial)
    assert set(poles.values()) == {2}


def test_more_questions_can_be_asked_for() -> None:
    trial = plan_trial("t", _definition(5, 20), 100, n_questions=12)
    assert set(Counter(item.instruction for item in trial).values()) == {12}


def test_the_questions_are_spread_over_the_list() -> None:
    trial = plan_trial("t", _definition(5, 20), 100)
    assert {item.question for item in trial} == {f"question {k}?" for k in (0, 4, 8, 12, 16)}
