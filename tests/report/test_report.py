"""The report: what it answers, what it shows, and that nobody's text becomes part of the page."""

import json
import re

import pandas as pd
import pytest

from tests.report.reports import (
    empty_manifest,
    judged_responses,
    make_report,
    manifest,
    steering_evaluation,
)
from traitvec_core.experiment import Thresholds
from traitvec_core.report.answer import answer
from traitvec_core.report.page import Report
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.steering import check_steering
from traitvec_core.validation.elicitation import keep_mask, summarise_responses
from traitvec_core.validation.report_manifest import Answer
from traitvec_core.validation.response_counts import (
    count_contents,
    has_leaked_thinking,
    is_echoing,
    is_refusing,
)
from traitvec_core.validation.steering import SteeringOutcome
from traitvec_core.validation.verdict import judge_vector

HOSTILE = (
    "<script>alert(1)</script> **bold** [link](https://evil.example) "
    "<img src=https://evil.example/x onerror=alert(2)> data:text/html,<b>x</b> {{ 7*7 }} "
    "\" ' </table></style>\u202e"
)


def _check(name: str, verdict: str) -> CheckResult:
    return CheckResult(name=name, verdict=verdict, summary=f"found {name}")  # type: ignore[arg-type]


# -- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> tuple[str, Report]:
    """The size of Gemma 2 2B: 27 rows, four methods."""
    return make_report(n_layers=27, steering=steering_evaluation())


def test_a_large_model_makes_a_small_page(large: tuple[str, Report]) -> None:
    page, _ = large
    assert len(page.encode()) < 3_000_000
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    assert len(pictures) == page.count("<figure") >= 10
    # Some of these go into Dagster's event log, as text.
    assert max(map(len, pictures)) < 50_000


def test_every_picture_says_what_it_is_and_what_to_look_for(large: tuple[str, Report]) -> None:
    figures = re.findall(r"<figure[^>]*>(.*?)</figure>", large[0], re.DOTALL)
    assert len(figures) >= 10
    for figure in figures:
        assert re.search(r'alt="[^"]{15,}"', figure)
        assert "Look for" in figure.partition("<figcaption>")[2]


def test_the_json_holds_every_number(large: tuple[str, Report]) -> None:
    report = large[1].model_dump(mode="json")
    json.dumps(report, allow_nan=False)
    assert len(report["separation"]["scores"]) == 27 * 5
    assert report["recommended"]["chosen_by"] == "steering"
    assert report["recommended_by_separation"]["why"] == "it is best"
    assert len(report["steering"]["dose_response"]) == 5
    held_out = report["held_out_projections"]
    assert held_out["margins"][0] is None
    assert len(held_out["margins"]) == len(held_out["question_ids"]) == 200
    assert len(report["elicitation"]["by_cell"]) == 5
    assert len(report["mean_norm_by_layer"]) == 27


@pytest.mark.usefixtures("one_picture")
def test_nobodys_text_becomes_part_of_the_page() -> None:
    page, _ = make_report(HOSTILE, steering=steering_evaluation(HOSTILE))
    plain, _ = make_report("An answer.", steering=steering_evaluation())

    def tags(html: str) -> list[str]:
        return re.findall(r"<[a-z/!][^\s>]*", html)

    assert tags(page) == tags(plain)
    assert "default-src 'none'" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; **bold**" in page
    assert "{{ 7*7 }}" in page
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64,|#)', page)


@pytest.mark.usefixtures("one_picture")
def test_a_report_needs_neither_steering_nor_a_vector() -> None:
    page, report = make_report(extracted=empty_manifest())
    assert ">Steering</h2>" not in page
    assert "No vector can be recommended" in page
    assert "one question only" in page
    assert "No vector can be recommended" in report.answer.text
    assert report.steering is None


@pytest.mark.usefixtures("one_picture")
def test_the_page_says_whether_it_steers_and_what_else_changes() -> None:
    page, _ = make_report(steering=steering_evaluation())
    assert "It steers." in page
    assert "would reach 14.1" in page
    assert "10% of 10 questions the wrong way" in page
    assert "adds 0.60 of the residual norm" in page
    table = page[page.index("What else changes") :]
    assert "<td>perplexity of neutral text</td>" in table
    # A missing figure is a dash.
    assert re.search(r"distinct word pairs</td><td[^>]*>0.97</td><td[^>]*>–</td>", table)
    chance, _ = make_report(steering=steering_evaluation(moved=(14, 10, 18)))
    assert "It is not shown to steer." in chance


@pytest.mark.usefixtures("one_picture")
def test_the_gravest_check_comes_first() -> None:
    # A norm that fails asks for care only; confounds that fail do not.
    checks = [
        _check("coverage", "pass"), _check("definition", "warn"), _check("stability", "warn"),
        _check("norm", "fail"), _check("confounds", "fail"),
    ]  # fmt: skip
    page, report = make_report(checks=checks)
    gravest = ["confounds", "norm", "stability", "definition", "coverage"]
    places = [page.index(f'<tr id="check-{name}">') for name in gravest]
    assert places == sorted(places)
    assert [check.name for check in report.checks] == [check.name for check in checks]


@pytest.mark.usefixtures("one_picture")
def test_there_is_a_tab_for_every_condition() -> None:
    page, _ = make_report(steering=steering_evaluation())
    tabs = re.findall(r'<label for="dose-\d+">([^<]*)</label>', page)
    assert tabs == ["−2", "−1", "0", "+1", "+2", "prompted", "random 1"]
    assert re.findall(r'id="dose-(\d+)" checked', page) == ["5"]


@pytest.mark.usefixtures("one_picture")
def test_a_long_response_is_cut_and_says_so() -> None:
    page, _ = make_report("x" * 7000)
    # It ends in its question and instruction, which are cut too.
    assert f">{'x' * 6000} … and 1004 more characters<" in page


# -- the answer -----------------------------------------------------------------------------------

VECTOR = manifest(3, ["trait_0_pos_0_0"]).separation.of("mean_diff", 1)


def _answer(checks: list[CheckResult], steering: SteeringEvaluation | None) -> Answer:
    """Answer as a report does, where steering is one of the checks."""
    if steering is not None:
        outcome = SteeringOutcome(is_evaluated=True, test=steering.test, tested=steering.tested)
        checks = [*checks, check_steering(outcome, Thresholds())]
    return answer(judge_vector(checks)[0], checks, VECTOR, steering)


@pytest.mark.parametrize(
    ("verdicts", "moved", "verdict", "headline"),
    [
        ([], "untried", "fail", "Unknown"),
        (["pass", "fail", "warn"], (40, 30, 50), "fail", "Not as it stands."),
        (["pass", "warn"], (40, 30, 50), "warn", "To steer and to monitor."),
        (["pass"], (40, 30, 50), "pass", "To steer and to monitor."),
        (["pass"], "untried", "pass", "To monitor; whether it steers has not been tested."),
        # Its interval holds 0; it does no more than random directions; no dose was chosen.
        (["pass"], (40, -1, 50), "warn", "To monitor; it is not shown to steer."),
        (["pass"], (14, 10, 18), "warn", "To monitor; it is not shown to steer."),
        (["pass"], None, "warn", "To monitor; it is not shown to steer."),
        (["fail"], None, "fail", "Not as it stands."),
    ],
)
def test_the_answer_is_honest(verdicts, moved, verdict, headline) -> None:
    steering = None if moved == "untried" else steering_evaluation(moved=moved)
    checks = [_check(f"c{n}", v) for n, v in enumerate(verdicts)]
    found = _answer(checks, steering)
    assert found.verdict == verdict
    assert found.headline.startswith(headline)
    failed = [f"c{n}" for n, v in enumerate(verdicts) if v == "fail"]
    assert all(f"{name.capitalize()}: found {name}." in found.text for name in failed)
    assert (", take" in found.text) == (verdict != "fail")


def test_the_answer_says_which_and_how_strong() -> None:
    text = _answer([_check("a", "pass")], steering_evaluation()).text
    assert "To monitor, take mean_diff at layer 1" in text
    assert "To steer, take probe at layer 1 with coefficient 2" in text
    assert "+40 [+30, +50] to 80, with coherence 80 instead of 80" in text
    assert "16 random directions of the same length move it by +1 on average (SD 4)" in text
    assert "and the best of 16 would reach +14" in text
    chance = _answer([_check("a", "pass")], steering_evaluation(moved=(14, 10, 18))).text
    assert "not shown that the vector steers: the best of 16 random directions would" in chance
    assert "How strong is unknown" in _answer([_check("a", "pass")], None).text


# -- what was elicited ----------------------------------------------------------------------------


def test_the_contrast_has_an_interval_over_questions() -> None:
    judged = judged_responses()
    contrast = summarise_responses(judged, ResponseFilter()).contrast
    # All questions are alike, so that no draw of them differs.
    assert contrast.value == pytest.approx(85)
    assert contrast.interval == pytest.approx((85, 85))
    is_odd = judged["question_id"].str.contains(r"trait_\d*[13579]_pos", regex=True)
    uneven = judged.assign(trait_score=judged["trait_score"].mask(is_odd, 10.0))
    contrast = summarise_responses(uneven, ResponseFilter()).contrast
    assert contrast.value is not None
    assert contrast.interval is not None
    low, high = contrast.interval
    # Half of 20 questions at 85, half at 3: ± 1.96 · 41 / √20 about their mean.
    assert (contrast.value - low, high - contrast.value) == pytest.approx((18, 18), abs=3)


def test_paired_keeps_both_or_neither() -> None:
    judged = judged_responses()
    judged.loc[0, "trait_score"] = 10.0
    judged.loc[150, "coherence_score"] = None
    alone = keep_mask(judged, ResponseFilter())
    assert (~alone).nonzero()[0].tolist() == [0, 150]
    both = keep_mask(judged, ResponseFilter(pairing="paired"))
    assert (~both).nonzero()[0].tolist() == [0, 50, 100, 150]
    moved = judged.sample(frac=1, random_state=0)
    assert (~keep_mask(moved, ResponseFilter(pairing="paired"))).sum() == 4
    found = summarise_responses(judged, ResponseFilter(pairing="paired"))
    assert (found.positive.kept, found.negative.kept, found.pairs_kept) == (98, 98, 98)
    assert found.response_filter.pairing == "paired"


def test_missing_scores_are_counted_by_reason_for_both_scores() -> None:
    judged = judged_responses()
    judged.loc[[0, 1], ["trait_score", "judge_status"]] = [None, "refusal"]
    judged.loc[2, ["coherence_score", "coherence_status"]] = [None, "error"]
    found = summarise_responses(judged, ResponseFilter())
    assert found.positive.missing == {"refusal": 2}
    assert found.positive.missing_coherence == {"error": 1}
    assert found.by_cell[0][0] is None
    assert found.by_instruction[0]["missing"] == 1
    assert found.by_cell[3][0] == pytest.approx(85)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot provide medical advice.",
        "As an AI, I am unable to discuss this.",
        "I’m not able to answer questions about locks.",
        "I must respectfully decline to answer.",
        "I won't be able to assist you here.",
        "I would rather not talk about that.",
    ],
)
def test_refusals_are_told(text: str) -> None:
    assert is_refusing(text)


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is how to start.",
        "You can't go wrong with a sturdy pair of shoes.",
        "Some people cannot eat gluten, so offer an alternative.",
        "A plant that does not get light will decline.",
        "",
    ],
)
def test_answers_are_no_refusals(text: str) -> None:
    assert not is_refusing(text)


def test_a_repetition_of_the_question_is_told() -> None:
    question = "What would you suggest to a person who is new to archery?"
    assert is_echoing(f"{question.upper()} Well, a bow.", question)
    assert is_echoing(
        "To a person, who is new to archery -- suggest to a person who is new", question
    )
    assert not is_echoing("A person who is new to archery needs a bow.", question)
    assert not is_echoing("Why? Because.", "Why?")
    assert is_echoing("你好,请问怎样学习射箭呢?好的。", "请问怎样学习射箭呢?")


@pytest.mark.parametrize("text", ["<think>Hm.</think> Yes", "Yes [/THINK]", "<|channel|>analysis"])
def test_leaked_thinking_is_told(text: str) -> None:
    assert has_leaked_thinking(text)
    assert not has_leaked_thinking("I think <so>.")


def test_contents_are_counted() -> None:
    table = pd.DataFrame(
        {
            "question": "Who was the first person that walked on the moon at night?",
            "instruction": "Be brief.",
            "response": ["Who was the first person that walked on it", "I refuse.", None, "Hm"],
            "judge_reason": ["", "", "", "the judge answered REFUSAL"],
        }
    )
    assert count_contents(table) == {"echoed": 1, "refusing": 2, "leaked_thinking": 0}
    assert count_contents(table.iloc[:0]) == dict.fromkeys(count_contents(table), 0)
