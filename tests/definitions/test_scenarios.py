"""The optional key `scenarios`: what it may contain, and what an experiment needs of it."""

from typing import Any

import pytest

from tests.definitions.test_trait import WHERE, parse, problems_of, raw_definition
from traitvec_core.elicited_by import in_words_of
from traitvec_core.errors import TraitvecError
from traitvec_core.generation import plan_responses
from traitvec_core.validation.checks.definition import check_definition

PAIRS = [{"pos": f"I agreed, {i}. I wrote:", "neg": f"I argued, {i}. I wrote:"} for i in range(10)]


def with_scenarios(**changes: Any) -> dict[str, Any]:
    return raw_definition(**{"scenarios": PAIRS, **changes})


def test_a_definition_has_instructions_scenarios_or_both() -> None:
    both, scenarios = parse(with_scenarios()), parse(with_scenarios(instruction=...))
    assert both.warnings == scenarios.warnings == []
    assert both.pairs("scenarios")[3].neg == PAIRS[3]["neg"]
    assert both.pairs()[3].neg == "Be rude, 3."
    assert both.pairs("scenarios") == scenarios.pairs("scenarios")
    # As a dumped definition writes the key that it lacks.
    assert parse(with_scenarios(instruction=[])).content_hash == scenarios.content_hash


def test_the_key_that_the_setting_needs_is_missed_in_one_line() -> None:
    instructed, told = parse(raw_definition()), parse(with_scenarios(instruction=...))
    for definition, elicited_by, other in (
        (instructed, "scenarios", "instructions"),
        (told, "instructions", "scenarios"),
    ):
        for use in (
            lambda: definition.pairs(elicited_by),
            lambda: definition.elicitation_hash(elicited_by),
            lambda: plan_responses("kindness", definition, 4, elicited_by),
        ):
            with pytest.raises(TraitvecError) as error:
                use()
            line = str(error.value)
            assert line.startswith(WHERE)
            assert f"elicitation: {elicited_by}" in line
            assert f"set elicitation: {other}" in line
            assert "\n" not in line
            assert len(line) < 200


def test_the_check_misses_it_too() -> None:
    data = parse(raw_definition()).model_dump_json().encode()
    assert check_definition(data, WHERE).verdict != "fail"
    missing = check_definition(data, WHERE, "scenarios")
    assert missing.verdict == "fail"
    assert "set elicitation: instructions" in missing.summary
    data = parse(with_scenarios()).model_dump_json().encode()
    both = check_definition(data, WHERE, "scenarios")
    assert both.verdict != "fail"
    assert both.figures["instruction_pairs"] == 10


@pytest.mark.parametrize(
    ("scenarios", "problem"),
    [
        ("I agreed.", "scenarios must be a list of at least one"),
        (None, "scenarios must be a list of at least one"),
        ({}, "scenarios must be a list of at least one"),
        (["I agreed."], 'scenarios[0] must be a {"pos": …, "neg": …} pair'),
        ([{"pos": "I agreed."}], "scenarios[0] has no negative pole"),
        ([{"pos": "", "neg": "I argued."}], "scenarios[0] has no positive pole"),
        ([{"pos": 3, "neg": "I argued."}], "scenarios[0] has no positive pole"),
        ([{"pos": "I agreed."}] * 2, "scenarios has no negative pole ('neg') in its 2 pairs"),
        ([{"pos": "I wrote: ", "neg": "I wrote:"}], "scenarios[0] has the same text"),
        (
            [*PAIRS, {"pos": "Asked {question}, he agreed:", "neg": "He argued:"}],
            "scenarios[10] has {question} in one pole only",
        ),
        ([{"pos": "FILL IN: an opening", "neg": "b"}], "scenarios[0].pos still contains"),
        ([{"pos": "a" * 30_000, "neg": "b"}], "scenarios[0].pos is 30,000 characters long"),
        (PAIRS * 1_001, "scenarios has 10,010 entries"),
    ],
)
def test_what_is_wrong_with_scenarios_is_named(scenarios: Any, problem: str) -> None:
    for instruction in ({}, {"instruction": ...}):
        (line, *_) = problems_of(with_scenarios(scenarios=scenarios, **instruction))
        assert line.startswith(problem)


def test_a_definition_with_neither_misses_instructions() -> None:
    for missing in ({"scenarios": ...}, {"scenarios": []}):
        assert problems_of(with_scenarios(instruction=..., **missing)) == (
            'instruction must be a list of at least one {"pos": …, "neg": …} pair (the key is'
            " missing)",
        )


def test_few_pairs_are_warned_of_alike() -> None:
    instructed = parse(raw_definition(instruction=raw_definition()["instruction"][:3])).warnings
    told = parse(with_scenarios(instruction=..., scenarios=PAIRS[:3])).warnings
    assert instructed == ["3 instruction pairs: with so few, swapped labels cannot show less than"
                          " p = 1/4; ten are recommended"]  # fmt: skip
    assert told == [line.replace("instruction", "scenario") for line in instructed]


def test_scenarios_change_no_earlier_hash() -> None:
    plain, both = parse(raw_definition()), parse(with_scenarios())
    # Of the version before scenarios, so that its results stay fresh.
    assert plain.content_hash[:16] == "a9b64edf528d8532"
    assert plain.elicitation_hash()[:16] == both.elicitation_hash()[:16] == "c1b19316570788f2"
    assert plain.content_hash != both.content_hash
    assert both.elicitation_hash("scenarios") != both.elicitation_hash()


def test_openings_take_the_place_of_instructions_in_the_plan() -> None:
    definition = parse(with_scenarios())
    planned = plan_responses("kindness", definition, 20, "scenarios")
    usual = plan_responses("kindness", definition, 20)
    assert [row.question_id for row in planned] == [row.question_id for row in usual]
    assert planned[0].instruction == PAIRS[0]["pos"]
    assert planned[-1].instruction in {pair["neg"] for pair in PAIRS}


def test_sentences_take_the_words_of_scenarios_and_names_stay() -> None:
    sentence = (
        "An instruction pair of instruction_following: the instruction’s share, Instructions, "
        "non-instruction texts; the 5 instruction pairs and the positive instruction alone"
    )
    assert in_words_of("instructions", sentence) == sentence
    assert in_words_of("scenarios", sentence) == (
        "A scenario pair of instruction_following: the opening’s share, Openings, "
        "non-instruction texts; the 5 scenario pairs and the positive opening alone"
    )


def test_an_instruction_may_say_what_it_likes_of_questions() -> None:
    pairs = [{"pos": "Repeat {question} first.", "neg": "Answer at once."}]
    assert parse(raw_definition(instruction=pairs)).instruction[0].pos == pairs[0]["pos"]
