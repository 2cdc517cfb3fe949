"""Trait definitions: what is wrong with them, and text that must stay text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.settings.trait_form import scaffold_definition
from traitvec_core.trait import (
    TraitDefinition,
    check_name,
    fill_rubric,
    parse_definition,
)
from traitvec_core.validation.lint import lint

SHARED_TRAITS = Path(__file__).parents[2].parent / "shared" / "data" / "persona_vectors" / "traits"
WHERE = "experiments/x/kindness/trait_definition.json"


def raw_definition(**changes: Any) -> dict[str, Any]:
    whole = {
        "instruction": [{"pos": f"Be kind, {i}.", "neg": f"Be rude, {i}."} for i in range(10)],
        "questions": [f"Question {i}?" for i in range(20)],
        "eval_prompt": "Rate it.\n[A]{question}[B]\n[C]{answer}[D]",
    }
    whole.update(changes)
    return {key: value for key, value in whole.items() if value is not ...}


def parse(raw: Any) -> TraitDefinition:
    return parse_definition(json.dumps(raw).encode(), WHERE)


def problems_of(raw: Any) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as error:
        parse_definition(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), WHERE)
    assert error.value.where == WHERE
    assert WHERE in str(error.value)
    for problem in error.value.problems:
        assert "\n" not in problem
        assert len(problem) < 400
    return error.value.problems


def test_a_usual_definition_is_read_without_warnings() -> None:
    definition = parse(raw_definition())
    assert definition.warnings == []
    assert len(definition.instruction) == 10
    assert definition.instruction[3].neg == "Be rude, 3."
    assert (definition.positive_label, definition.negative_label) == ("positive", "negative")
    assert definition.eval_questions == []
    assert definition.about == []


@pytest.mark.parametrize("name", ["honest", "humorous", "optimistic", "sycophantic"])
def test_real_definitions_load_unchanged(name: str) -> None:
    path = SHARED_TRAITS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here: the real definitions are not part of the project")
    raw = json.loads(path.read_bytes())
    definition = parse_definition(path.read_bytes(), name)
    (few_pairs,) = definition.warnings
    assert few_pairs.startswith("5 instruction pairs: ")
    found = definition.model_dump()
    assert {key: found[key] for key in raw} == raw


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"eval_prompt": "Rate {question}."}, "eval_prompt has no {answer} placeholder"),
        ({"eval_prompt": "Rate {answer}."}, "eval_prompt has no {question} placeholder"),
        ({"eval_prompt": "Rate { answer } {question} {answer"}, "no {answer} placeholder"),
        ({"eval_prompt": 5}, "eval_prompt must be a rubric"),
        ({"eval_prompt": None}, "eval_prompt must be a rubric"),
        ({"eval_prompt": "  "}, "eval_prompt must be a rubric"),
        ({"eval_prompt": ...}, "eval_prompt must be a rubric"),
        ({"instruction": [{"pos": "Be kind."}]}, r"instruction[0] has no negative pole ('neg')"),
        ({"instruction": [{"neg": "Be rude."}]}, r"instruction[0] has no positive pole ('pos')"),
        ({"instruction": [{"pos": "Be.", "neg": " "}]}, "instruction[0] has no negative pole"),
        ({"instruction": [{"pos": "Be.", "neg": "Be. "}]}, "instruction[0] has the same text"),
        ({"instruction": [{"pos": 1, "neg": ["x"]}]}, "instruction[0] has no positive pole"),
        (
            {"instruction": [{"pos": "Be."}] * 10},
            "instruction has no negative pole ('neg') in its 10",
        ),
        ({"instruction": ["Be kind."]}, "instruction[0] must be a"),
        ({"instruction": "Be kind."}, "instruction must be a list"),
        ({"instruction": {"pos": "a", "neg": "b"}}, "instruction must be a list"),
        ({"instruction": []}, "instruction must be a list of at least one"),
        ({"instruction": ...}, "(the key is missing)"),
        ({"questions": []}, "at least 2 questions (found 0)"),
        ({"questions": ["Only one?"]}, "at least 2 questions (found 1)"),
        ({"questions": {"a": "b", "c": "d"}}, "at least 2 questions (found no list)"),
        ({"questions": 7}, "at least 2 questions (found no list)"),
        ({"questions": "What?"}, "at least 2 questions (found no list)"),
        ({"questions": None}, "at least 2 questions (found no list)"),
        ({"questions": ...}, "at least 2 questions"),
        ({"questions": ["a", "", 3, None, ["x"]]}, "questions[3] must be a non-empty string"),
        ({"questions": ["a", "x" * 500_000]}, "questions[1] is 500,000 characters long"),
        ({"questions": ["a", "half \ud83d of it"]}, "questions[1] contains half a surrogate pair"),
        ({"questions": ["a", "b\0c"]}, "questions[1] contains a null character"),
        ({"eval_questions": "What?"}, "eval_questions must be a list"),
        ({"eval_questions": 3}, "eval_questions must be a list"),
        ({"eval_questions": None}, "eval_questions must be a list"),
        ({"eval_questions": ["a", 4]}, "eval_questions[1] must be a non-empty string"),
        ({"name": 5}, "name must be a string"),
        ({"description": ["x"]}, "description must be a string"),
        ({"positive_label": None}, "positive_label must be a string"),
        ({"negative_label": {}}, "negative_label must be a string"),
        (
            {"about": "length"},
            'about must be a list, such as ["length"]; allowed are length, words',
        ),
        ({"about": None}, "about must be a list"),
        ({"about": ["words", "tone"]}, "about[1] is 'tone'; allowed are length, words, refusal"),
        ({"about": [["length"]]}, "about[0] is ['length']; allowed are"),
        ({"description": "FILL IN: what it is"}, "still contains the form's text"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(changes: dict[str, Any], expected: str) -> None:
    assert any(expected in problem for problem in problems_of(raw_definition(**changes)))


def test_all_problems_are_listed_at_once() -> None:
    problems = problems_of(
        {
            "name": 5,
            "instruction": [{"pos": "a", "neg": "b"}, {"pos": "a"}, "x"],
            "questions": {"a": 1},
            "eval_prompt": "{question}",
            "eval_questions": [7],
            "description": "broken \ud800",
        }
    )
    for expected in (
        "name must", "instruction[1] has no negative", "instruction[2] must", "questions must",
        "no {answer}", "eval_questions[0] must", "description contains half",
    ):  # fmt: skip
        assert sum(expected in problem for problem in problems) == 1
    assert len(problems) == 7


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"{'instruction': []}", "is not valid JSON"),
        (b'{"instruction": [', "is not valid JSON"),
        (b'{"questions": ["a\x00b"]}', "is not valid JSON"),
        (b"\x00" * 100, "is not valid JSON"),
        (b"[]", "contains a JSON list"),
        (b"null", "contains a JSON NoneType"),
        (b"5", "contains a JSON int"),
        (b"NaN", "contains NaN in line 1"),
        (b"0.5", "contains a JSON float"),
        (b'{"questions": [],\n"questions": []}', "has the key 'questions' twice, in lines 1 and 2"),
        (
            b'{"instruction": [' + b"{}," * 900_000 + b"{}]}",
            "instruction has 900,001 entries; the limit is 10,000",
        ),
        (b'"text"', "contains a JSON str"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8"),
        (b"{" + b" " * 4_000_001 + b"}", "bytes long"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"questions": ' + b"[" * 900 + b"]" * 900 + b"}", "nested too deeply"),
        (b'{"questions": ' + b"9" * 5000 + b"}", "number too long"),
    ],
)
def test_files_that_hold_no_definition(data: bytes, expected: str) -> None:
    (problem,) = problems_of(data)
    assert expected in problem


def test_a_million_problems_are_one_short_message() -> None:
    with pytest.raises(DefinitionError) as error:
        parse(raw_definition(questions=[0] * 10_000))
    assert len(error.value.problems) == 10_000
    assert "and 9,990 more problems" in str(error.value)
    assert len(str(error.value)) < 10_000


def test_a_byte_order_mark_and_braces_are_fine() -> None:
    raw = raw_definition(eval_prompt='Give {"score": n} {x} {{y}} {question} {answer} {')
    definition = parse_definition(b"\xef\xbb\xbf" + json.dumps(raw).encode(), WHERE)
    assert definition.eval_prompt == raw["eval_prompt"]
    filled = fill_rubric(definition.eval_prompt, "Q", "A")
    assert filled == 'Give {"score": n} {x} {{y}} Q A {'


def test_unusual_definitions_are_warned_about() -> None:
    definition = parse(
        raw_definition(
            instruction=[{"pos": "a", "neg": "b", "note": "x"}],
            questions=["Same?", "Same?"],
            eval_questions=["Same?"],
            metadata={"author": "me"},
            **{"half \ud800 key": 1},
        )
    )
    text = "; ".join(definition.warnings)
    for expected in (
        "1 instruction pair: ", "2 questions", "1 eval_question; ", "twice", "not held out",
        "metadata",
    ):  # fmt: skip
        assert expected in text
    text.encode()


@pytest.mark.parametrize(
    ("n_pairs", "shown"),
    [
        (1, "cannot show anything"),
        (2, "cannot show less than p = 1/2;"),
        (5, "cannot show less than p = 1/16;"),
        (6, "cannot show less than p = 1/32;"),
        (9, "cannot show less than p = 1/256;"),
    ],
)
def test_few_pairs_say_what_they_can_show(n_pairs: int, shown: str) -> None:
    pairs = [{"pos": f"Be kind, {i}.", "neg": f"Be rude, {i}."} for i in range(n_pairs)]
    (warning,) = parse(raw_definition(instruction=pairs)).warnings
    assert f"{n_pairs} instruction pair" in warning
    assert shown in warning
    assert warning.endswith("; ten are recommended")


def test_held_out_questions_are_suggested_where_questions_are_few() -> None:
    few, ten = [f"Question {i}?" for i in range(19)], [f"Held out {i}?" for i in range(10)]
    warnings = parse(raw_definition(questions=few, eval_questions=ten[:9])).warnings
    assert any("9 eval_questions" in warning for warning in warnings)
    assert len(parse(raw_definition(questions=few, eval_questions=ten)).warnings) == 1
    assert parse(raw_definition(eval_questions=ten[:9])).warnings == []


def test_hashes_follow_what_they_name() -> None:
    base = parse(raw_definition())
    asked = parse(raw_definition(questions=[f"Other {i}?" for i in range(20)]))
    rated = parse(raw_definition(eval_prompt="{question} {answer}"))
    named = parse(raw_definition(description="Kindness."))
    about = parse(raw_definition(about=["refusal", "length"]))
    assert about.about == ["refusal", "length"]
    assert base.elicitation_hash() != asked.elicitation_hash()
    assert base.elicitation_hash() == rated.elicitation_hash() == named.elicitation_hash()
    assert base.elicitation_hash() == about.elicitation_hash()
    assert base.rubric_hash != rated.rubric_hash
    assert base.rubric_hash == asked.rubric_hash == named.rubric_hash == about.rubric_hash
    assert len({d.content_hash for d in (base, asked, rated, named, about)}) == 5
    assert parse(raw_definition()).content_hash == base.content_hash


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_KEYS = (
    "instruction", "questions", "eval_prompt", "name", "description", "positive_label",
    "negative_label", "about", "eval_questions", "warnings", "model_config",
)  # fmt: skip


def only_raises_definition_errors(data: bytes) -> None:
    try:
        definition = parse_definition(data, WHERE)
    except DefinitionError as error:
        assert error.problems  # noqa: PT017
        str(error).encode()
    else:
        definition.content_hash.encode()
        "; ".join(definition.warnings).encode()


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_only_raise_definition_errors(data: bytes) -> None:
    only_raises_definition_errors(data)


@settings(max_examples=300)
@given(_VALUES)
def test_arbitrary_json_only_raises_definition_errors(value: Any) -> None:
    only_raises_definition_errors(json.dumps(value).encode())


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=4))
def test_a_definition_spoiled_in_places_only_raises_definition_errors(
    changes: dict[str, Any],
) -> None:
    only_raises_definition_errors(json.dumps({**raw_definition(), **changes}).encode())


# -- rubrics --------------------------------------------------------------------------------------


def test_the_rubric_is_filled_by_plain_replacement() -> None:
    rubric = "Q: {question} / A: {answer} / again {answer} / {other} {0} %s"
    assert fill_rubric(rubric, "why?", "so") == "Q: why? / A: so / again so / {other} {0} %s"
    assert fill_rubric(rubric, "{answer}", "{question}") == (
        "Q: {answer} / A: {question} / again {question} / {other} {0} %s"
    )
    assert fill_rubric("{question}{answer}", "\\1", "\\g<0>") == "\\1\\g<0>"


_DELIMITED = (
    "<answer_sheet>\n[QUESTION START]\n{question}\n[QUESTION END]\n```\n{answer}\n```\n"
    '"""\n{answer}\n"""\n[ANSWER START] {answer} [ANSWER END]</answer_sheet>'
)
_PIECES = st.sampled_from(
    ["[", "]", "[ANSWER END]", "[QUESTION START]", "```", "`", '"', '"""', "<", "/",
     "answer_sheet>", "</answer_sheet>", "[ANSWER ", "END]", "x", " ", "\n", "{question}",
     "{answer}", "\u200b"]
)  # fmt: skip


@settings(max_examples=400)
@given(
    question=st.lists(_PIECES, max_size=10).map("".join),
    answer=st.lists(_PIECES, max_size=10).map("".join),
)
def test_text_cannot_close_its_delimiters(question: str, answer: str) -> None:
    filled = fill_rubric(_DELIMITED, question, answer)
    for mark in (
        "[QUESTION START]", "[QUESTION END]", "[ANSWER START]", "[ANSWER END]", "<answer_sheet>",
        "</answer_sheet>", "```", '"""',
    ):  # fmt: skip
        assert len(re.findall(f"(?={re.escape(mark)})", filled)) == _DELIMITED.count(mark), mark
    # Nothing is lost: only zero-width spaces are added.
    plain = _DELIMITED.replace("{question}", "\x00").replace("{answer}", "\x01")
    plain = plain.replace("\x00", question).replace("\x01", answer)
    assert filled.replace("\u200b", "") == plain.replace("\u200b", "")


def test_harmless_text_is_not_touched() -> None:
    answer = "A list [1, 2], some `code`, <b>bold</b> and {braces}."
    assert answer in fill_rubric(_DELIMITED, "Q", answer)


# -- names and forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "refusal", "0", "gemma_2b-x", "a" * 100])
def test_usable_names(name: str) -> None:
    assert check_name("trait", name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../b", "/etc/passwd", "a/b", "a\\b", "C:x", "Refusal", "_a", "-a",
     "a b", "a.b", "a\n", "a\0", "é", "ａ", "а", "trait\u200b", "a" * 101, "x" * 1_000_000],
)  # fmt: skip
def test_names_that_may_not_become_folders(name: str) -> None:
    with pytest.raises(TraitvecError) as error:
        check_name("trait", name)
    assert str(error.value).startswith("trait name")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_the_form_names_every_gap() -> None:
    form = scaffold_definition("self_doubt")
    problems = problems_of(form.encode())
    assert len(problems) == 1 + 2 * 10 + 20 + 10
    assert all("fill it in" in problem for problem in problems)
    described = scaffold_definition("self_doubt", "Doubting oneself.")
    assert len(problems_of(described.encode())) == 2 * 10 + 20 + 10
    filled = parse_definition(described.replace("FILL IN:", "").encode(), WHERE)
    assert filled.warnings == []
    assert filled.about == []
    assert "Doubting oneself." in filled.eval_prompt


def test_five_pairs_of_the_form_are_enough() -> None:
    form = json.loads(scaffold_definition("self_doubt", "Doubting oneself."))
    assert all("delete this pair" in pair["pos"] for pair in form["instruction"][5:])
    form["instruction"] = form["instruction"][:5]
    form["eval_questions"] = []
    filled = parse_definition(json.dumps(form).replace("FILL IN:", "").encode(), WHERE)
    (few_pairs,) = filled.warnings
    assert "p = 1/16" in few_pairs


def test_the_worked_example_is_complete() -> None:
    definition = parse_definition(scaffold_definition("my_example", example=True).encode(), WHERE)
    assert definition.warnings == []
    assert definition.name == "my_example"
    assert len(definition.instruction) == 10
    assert lint(definition) == []
    for pair in definition.instruction[5:]:
        assert abs(len(pair.pos) - len(pair.neg)) <= 10
    assert len(set(definition.questions)) == 20
    assert len(set(definition.eval_questions)) == 10
    assert not set(definition.questions) & set(definition.eval_questions)
    assert definition.description
    assert (definition.positive_label, definition.negative_label) == ("sycophantic", "candid")
    for mark in ("[QUESTION START]", "[QUESTION END]", "[ANSWER START]", "[ANSWER END]"):
        assert definition.eval_prompt.count(mark) == 1
    assert "one whole number from 0 to 100" in definition.eval_prompt
