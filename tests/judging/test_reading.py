"""A judge's answer is one score, or it is none: nothing is guessed."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from traitvec_core.judging.reading import (
    UnusableAnswerError,
    clipped,
    is_number,
    number_mass,
    read_json_score,
    read_text_score,
    score_of,
    weighted_score,
)

SCORES = st.integers(0, 100)

# -- one number -----------------------------------------------------------------------------------


@given(SCORES)
def test_every_score_is_read_as_it_was_written(n: int) -> None:
    assert read_text_score(f" {n}\n") == n
    assert read_json_score(json.dumps({"score": n})) == n
    assert read_json_score(f"\n{n} ") == n
    assert score_of({"score": n}) == n
    assert is_number(str(n))


PROSE = [
    "", " \n", "The score is 85", "85 out of 100", "85/100", "85%", "85.5", "85.0", "100.", "1e2",
    "0x10", "٤٢", "４２", "¹²", "007", "00", "+5", "-5", "8 5", "1,000", "eighty-five", "NaN",
    "inf",
    "85\n90", "42\x00", "\u200b42", "\ud83d", "**85**", "[85]", '"85"', "<thinking>1</thinking>42",
]  # fmt: skip


@pytest.mark.parametrize("answer", [*PROSE, "101", "999", "1000", "12345", "9" * 100_000])
def test_anything_but_one_whole_number_is_no_score(answer: str) -> None:
    with pytest.raises(UnusableAnswerError) as caught:
        read_text_score(answer)
    assert not caught.value.is_truncated
    assert len(str(caught.value)) < 200
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "answer",
    ["REFUSAL", '"REFUSAL"', "'REFUSAL'", "[REFUSAL]", "REFUSAL.", "**REFUSAL**", "`REFUSAL`\n"],
)
@pytest.mark.parametrize("read", [read_text_score, read_json_score])
def test_the_word_of_the_rubrics_is_understood(answer: str, read: Any) -> None:
    assert read(answer) == "REFUSAL"
    assert read(f"<think>85</think>{answer}") == "REFUSAL"


@pytest.mark.parametrize(
    "answer", ["refusal", "REFUSAL 85", "85 REFUSAL", "no REFUSAL", "REFUSALS"]
)
@pytest.mark.parametrize("read", [read_text_score, read_json_score])
def test_the_word_among_others_is_prose(answer: str, read: Any) -> None:
    with pytest.raises(UnusableAnswerError):
        read(answer)


# -- thinking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<think>I would say 85, or 90.</think>42", 42),
        ("<think>\n85\n</think>\n\n42\n", 42),
        ("85 at first</think>42", 42),  # templates that open the thinking themselves
        ("<think></think>0", 0),
        ("<think>a</think>85<think>b</think>42", 42),
    ],
)
def test_thinking_is_never_the_score(answer: str, score: int) -> None:
    assert read_text_score(answer) == score
    assert read_json_score(answer) == score


@pytest.mark.parametrize("answer", ["<think>85", "<think>", "<think>1</think><think>85\n"])
@pytest.mark.parametrize("read", [read_text_score, read_json_score])
def test_thinking_that_does_not_end_was_cut_off(answer: str, read: Any) -> None:
    with pytest.raises(UnusableAnswerError) as caught:
        read(answer)
    assert caught.value.is_truncated


def test_thinking_and_nothing_else_is_no_score() -> None:
    with pytest.raises(UnusableAnswerError):
        read_text_score("<think>85</think>")


# -- structured -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"score": 85}', 85), (' {"score":0}\n', 0), ("85", 85),
        ('{"score": "REFUSAL"}', "REFUSAL"),
        ('"REFUSAL"', "REFUSAL"), ('<think>{"score": 1}</think>{"score": 2}', 2),
    ],
)  # fmt: skip
def test_a_structured_answer(answer: str, score: float | str) -> None:
    assert read_json_score(answer) == score


@pytest.mark.parametrize(
    "answer",
    [
        '{"score": true}', '{"score": 1e2}', '{"score": 85.0}', '{"score": "85"}',
        '{"score": null}',
        '{"score": [85]}', '{"score": {"score": 85}}', '{"score": 85, "why": "kind"}', "{}", "[85]",
        '{"value": 85}', '{"Score": 85}', '{"score": 1, "score": 85}', "true", "null", "NaN",
        "Infinity", '{"score": NaN}', '{"score": -1}', '{"score": 101}', '{"score": 085}',
        '{"score": 85', 'Here: {"score": 85}', '```json\n{"score": 85}\n```', '{"score": 85}}',
        "{'score': 85}", '{"score": "refusal"}', '{"score": "\\ud83d"}', "\ufeff85", "", "85.0",
    ],
)  # fmt: skip
def test_another_structure_is_no_score(answer: str) -> None:
    with pytest.raises(UnusableAnswerError) as caught:
        read_json_score(answer)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("digits", [5, 400, 4300, 4301, 1_000_000])
def test_a_huge_number_is_out_of_range_and_not_shown_whole(digits: int) -> None:
    for answer in ('{"score": ' + "9" * digits + "}", "-" + "9" * digits):
        with pytest.raises(UnusableAnswerError) as caught:
            read_json_score(answer)
        assert len(str(caught.value)) < 200


def test_no_depth_of_nesting_is_too_deep() -> None:
    """Reading may succeed at a depth at which showing the value fails."""
    for depth in [*range(900, 1010), 100_000]:
        for answer in ("[" * depth + "]" * depth, '{"score":' * depth + "1" + "}" * depth):
            with pytest.raises(UnusableAnswerError):
                read_json_score(answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.text()
    | st.text("0123456789.-+e \nREFUSAL<think>/{}\"':[]", max_size=30)
    | (JSON | st.fixed_dictionaries({"score": JSON})).map(json.dumps)
)
@example("<think>" * 3)
@example('{"score": 100}')
def test_an_answer_is_a_score_in_range_or_unusable(answer: str) -> None:
    for read in (read_text_score, read_json_score):
        try:
            score = read(answer)
        except UnusableAnswerError as error:
            reasons = [str(error)]
        else:
            reasons = ["none"]
            assert score == "REFUSAL" or (isinstance(score, float) and 0 <= score <= 100)
            assert score == "REFUSAL" or str(int(score)) in answer
        assert all(reasons)


@given(st.text(st.characters(), max_size=400))
@example("\x1b[2J\x1b]0;title\x07")
@example("\u202egnol\u2028line")
@example("x" * 1_000_000)
def test_what_is_shown_of_an_answer_is_one_short_plain_line(text: str) -> None:
    shown = clipped(text)
    assert len(shown) <= 81
    assert len(shown.splitlines()) <= 1
    assert shown.isprintable()
    shown.encode()


# -- weighted scores ------------------------------------------------------------------------------

EOT = "<|im_end|>"
# Weights of the numbers, and of all else that the model might say.
WEIGHTS = st.lists(st.floats(0, 1), min_size=101, max_size=101).filter(lambda w: sum(w) > 1e-3)


def normalised(weights: list[float], number_share: float) -> np.ndarray:
    return np.array(weights) / sum(weights) * number_share


def expected(p: np.ndarray) -> float:
    return float((p * np.arange(101)).sum() / p.sum())


def tree(
    p: np.ndarray, pieces: dict[int, tuple[str, ...]]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What a model that says n with probability p(n) gives as next tokens, written in pieces."""
    after: dict[str, dict[str, float]] = {}
    for n, parts in pieces.items():
        for k, part in enumerate((*parts, EOT)):
            written = "".join(parts[:k])
            after.setdefault(written, {})
            after[written][part] = after[written].get(part, 0.0) + float(p[n])
    root = after.pop("")
    for following in after.values():
        total = sum(following.values())
        for token in following:
            following[token] = following[token] / total if total else 0.0
    return root, after


def digits(n: int) -> tuple[str, ...]:
    return tuple(str(n))


def hundred_in_two(n: int) -> tuple[str, ...]:
    return ("10", "0") if n == 100 else (str(n),)


def hundred_other_two(n: int) -> tuple[str, ...]:
    return ("1", "00") if n == 100 else digits(n)


def whole(n: int) -> tuple[str, ...]:
    return (str(n),)


@pytest.mark.parametrize("write", [whole, digits, hundred_in_two, hundred_other_two])
@settings(max_examples=60)
@given(weights=WEIGHTS, share=st.floats(0.26, 1.0))
def test_a_score_is_the_mean_over_all_numbers(
    write: Any, weights: list[float], share: float
) -> None:
    p = normalised(weights, share)
    root, following = tree(p, {n: write(n) for n in range(101)})
    root |= {"The": (1 - share) / 2, "٤": (1 - share) / 4, "101": (1 - share) / 4}
    mass, unknown = number_mass(root, following)
    assert unknown == [] or write is whole
    assert [mass.get(n, 0.0) for n in range(101)] == pytest.approx(p, abs=1e-9)
    assert weighted_score(mass) == pytest.approx(expected(p), abs=5.1e-3)


@settings(max_examples=30)
@given(weights=WEIGHTS)
@example(weights=[1.0] * 101)
def test_asking_for_what_is_unknown_comes_to_the_same(weights: list[float]) -> None:
    """As it is done: each answer tells what may follow one beginning."""
    p = normalised(weights, 0.9)
    root, following = tree(p, {n: digits(n) for n in range(101)})
    told: dict[str, dict[str, float]] = {}
    mass, unknown = number_mass(root, told)
    while unknown:
        assert len(set(unknown)) == len(unknown)
        for beginning in unknown:
            assert beginning not in told
            told[beginning] = following[beginning]
        mass, unknown = number_mass(root, told)
    # What is not asked for holds less than a hundredth of the mass, and is off by 90 at the most.
    silent = [b for b in following if len(b) == 1 and b != "0" and b not in told]
    assert all(root.get(b, 0.0) < 0.01 for b in silent)
    assert "10" in told or "1" in silent or root["1"] * following["1"].get("0", 0.0) < 0.01
    slack = sum(root.get(b, 0.0) for b in silent) + (0.01 if "10" not in told else 0.0)
    assert weighted_score(mass) == pytest.approx(expected(p), abs=5.1e-3 + 100 * slack)


def test_a_beginning_in_two_spellings_is_asked_for_once() -> None:
    mass, unknown = number_mass({"8": 0.3, " 8": 0.3, "\n8": 0.3}, {})
    assert unknown == ["8"]
    assert mass == {8: pytest.approx(0.9)}
    following = {"8": {"5": 0.5, EOT: 0.5}}
    assert number_mass({"8": 0.3, " 8": 0.6}, following)[0] == {
        8: pytest.approx(0.45),
        85: pytest.approx(0.45),
    }


def test_only_digits_go_on_with_a_number() -> None:
    following = {"8": {" 5": 0.3, "٥": 0.3, ".5": 0.3, "": 0.1}}
    assert number_mass({"8": 1.0}, following)[0] == {8: 1.0}


@given(
    st.dictionaries(st.text("0123456789 xR", max_size=4), st.floats(0, 1), max_size=8),
    st.dictionaries(
        st.text("0123456789", max_size=3),
        st.dictionaries(st.text("0123456789x", max_size=2), st.floats(0, 1), max_size=5),
        max_size=5,
    ),
)
def test_whatever_a_server_claims_the_mass_is_on_scores(
    root: dict[str, float], following: dict[str, dict[str, float]]
) -> None:
    mass, unknown = number_mass(root, following)
    assert all(0 <= n <= 100 and p >= 0 for n, p in mass.items())
    assert not set(unknown) & set(following)
    score = weighted_score(mass)
    assert score is None or 0 <= score <= 100


@given(WEIGHTS, st.floats(0, 1))
def test_with_little_mass_on_numbers_there_is_no_score(weights: list[float], share: float) -> None:
    mass = dict(enumerate(normalised(weights, share).tolist()))
    if abs(share - 0.25) > 1e-6:
        assert (weighted_score(mass) is None) == (share < 0.25)


def test_the_limits_of_the_mass() -> None:
    assert weighted_score({40: 0.125, 60: 0.125}) == 50.0
    assert weighted_score({40: 0.2499}) is None
    assert weighted_score({}) is None
    assert weighted_score({50: math.nan}) is None
    assert weighted_score({50: 0.9, 60: math.nan}) is None
