"""The first screen of a report: what a busy reader learns from it, and that its lines work."""

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import SmallProject
from tests.report.reports import (
    empty_manifest,
    judged_responses,
    make_report,
    manifest,
    steering_evaluation,
)
from traitvec_core.estimate import Estimate
from traitvec_core.report.environment import shorten
from traitvec_core.report.first_screen import answer_line
from traitvec_core.report.page import Report
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.checks.result import CheckResult, Verdict

TRAITVEC = [sys.executable, "-c", "from traitvec_dagster.cli.main import main; main()"]
pytestmark = pytest.mark.usefixtures("one_picture")


def _check(name: str, verdict: Verdict, advice: str = "") -> CheckResult:
    return CheckResult(name=name, verdict=verdict, summary=f"{name} is so", advice=advice)


def _text(page: str) -> str:
    """What stands before the table of contents, as a reader sees it."""
    first = page[page.index("<body>") : page.index("<nav")]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", first)).split())


def _figures(page: str) -> dict[str, str]:
    cards = re.findall(r'<div id="figure-(\w+)">(.*?)</div>', page, re.DOTALL)
    return {name: " ".join(re.sub(r"<[^>]+>", " ", card).split()) for name, card in cards}


def _code(page: str, name: str) -> str:
    match = re.search(rf'<code id="{name}">(.*?)</code>', page)
    assert match is not None
    return html.unescape(match[1])


# -- what it says ---------------------------------------------------------------------------------


def test_it_names_the_verdict_the_vector_and_how_to_use_it() -> None:
    checks = [_check("contrast", "pass"), _check("steering", "pass")]
    page, _ = make_report(steering=steering_evaluation(), checks=checks)
    text = _text(page)
    assert "Can I use it? Usable To steer and to monitor." in text
    assert "probe at layer 1, coefficient 2 chosen and tested by steering" in text
    assert "adds 0.60 of the residual norm" in text
    assert 'load_vector("experiments", "demo", "trait")' in _code(page, "python")
    assert "--method probe --layers 1" in _code(page, "command")
    assert "nothing All 2 checks pass." in text
    # A note of the evaluation changes no verdict.
    assert text.index("nothing") < text.index("note An answer.")


def test_four_figures_have_intervals_and_something_to_compare_with() -> None:
    steering = steering_evaluation()
    prompted = steering.prompted.model_copy(update={"trait_moved": Estimate(value=55.2)})
    page, report = make_report(steering=steering.model_copy(update={"prompted": prompted}))
    shown = _figures(page)
    assert list(shown) == ["trait_moved", "coherence_moved", "accuracy", "instruction_share"]
    assert shown["trait_moved"].startswith("+40 [+30, +50] trait score when steered")
    assert "prompting +55; best random direction +9; chance up to +14" in shown["trait_moved"]
    assert shown["coherence_moved"].startswith("−5 [−8, −2] coherence when steered 80 instead of")
    assert shown["accuracy"].startswith("0.950 [0.900, 1.000] accuracy on unseen questions and")
    assert shown["instruction_share"].startswith("60% [50%, 70%] instruction’s share")
    # The same figures for other tools.
    assert [f.estimate.value for f in report.figures] == [40, -5, 0.95, 0.6]
    assert not any(figure.missing for figure in report.figures)
    assert answer_line(report.answer, report.recommended, report.figures) == (
        "Usable with care. To steer and to monitor. probe at layer 1, coefficient 2: trait score"
        " when steered +40 [+30, +50] (prompting +55; best random direction +9; chance up to +14);"
        " coherence when steered −5 [−8, −2]; accuracy on unseen questions and instructions 0.950"
        " [0.900, 1.000]; instruction’s share of the separation 60% [50%, 70%]"
    )


@pytest.mark.parametrize(
    ("skipped", "why"),
    [
        (None, "steering.evaluate is off in experiment.yaml"),
        ("it is no better than chance (p = 0.8)", "it is no better than chance"),
    ],
)
def test_what_was_not_measured_says_why_and_is_never_zero(skipped: str | None, why: str) -> None:
    page, report = make_report(steering_skipped=skipped)
    shown = _figures(page)
    missing = "not measured: steering was not evaluated"
    assert shown["trait_moved"] == f"– trait score when steered {missing}: {why}"
    assert shown["coherence_moved"] == f"– coherence when steered {missing}"
    assert [figure.estimate.value for figure in report.figures[:2]] == [None, None]


def test_a_dose_that_nothing_was_chosen_for_is_not_zero_either() -> None:
    shown = _figures(make_report(steering=steering_evaluation(moved=None))[0])
    assert "– trait score when steered not measured: no dose raised" in shown["trait_moved"]


def test_without_a_vector_nothing_is_handed_out() -> None:
    page, report = make_report(extracted=empty_manifest())
    assert "No vector" in _text(page)
    assert "load_vector" not in page
    assert all(figure.missing for figure in report.figures)
    assert {text[0] for text in _figures(page).values()} == {"–"}


def test_a_dose_of_another_vector_is_named() -> None:
    # Steering tested the probe, did not convince, and separation recommends another.
    steering = steering_evaluation(moved=(14.0, 10.0, 18.0))
    other = Recommendation(method="ica", layer=2, why="it separates best")
    page, _ = make_report(steering=steering.model_copy(update={"recommendation": other}))
    assert "tested with probe at layer 1, coefficient 2, not the recommended vector" in _text(page)
    assert "ica at layer 2, coefficient 1 chosen by held-out separation" in _text(page)
    tested, _ = make_report(steering=steering_evaluation())
    assert "not the recommended vector" not in tested


def test_one_question_set_is_not_called_unseen_instructions() -> None:
    ids = judged_responses()["question_id"].tolist()
    extracted = manifest(4, ids)
    separation = extracted.separation.model_copy(update={"n_pairs": 1})
    page, _ = make_report(extracted=extracted.model_copy(update={"separation": separation}))
    assert "accuracy on unseen questions chance" in _figures(page)["accuracy"]


def test_the_gravest_reason_comes_first_with_what_to_change() -> None:
    checks = [
        _check("contrast", "pass"),
        _check("definition", "warn", "Write ten pairs. See docs/troubleshooting.md#broken."),
        _check("norm", "fail", "Raise n_examples."),
        _check("confounds", "fail", "Vary the instructions. See docs/troubleshooting.md#other."),
    ]
    page, _ = make_report(steering=steering_evaluation(), checks=checks)
    text = _text(page)
    assert "Not usable Not as it stands." in text
    wrong = text[text.index("What is wrong with it, and what do I change?") :]
    order = ["confounds is so Vary the instructions.", "norm is so Raise", "definition is so Write"]
    places = [wrong.index(part) for part in order]
    assert places == sorted(places)
    assert "docs/troubleshooting.md" not in wrong
    assert "contrast is so" not in wrong


def test_many_long_reasons_are_cut_and_the_rest_is_named() -> None:
    names = ["contrast", "confounds", "chance", "stability", "norm", "accuracy", "steering"]
    checks = [
        CheckResult(name=name, verdict="fail", summary=f"{name} " * 60, advice="Do more. " * 80)
        for name in names
    ]
    page, _ = make_report(checks=checks)
    text = _text(page)
    shown = len(re.findall(r"<li>", page[: page.index("<nav")]))
    assert 1 <= shown < len(names)
    order = [name for name in names if name not in ("norm", "accuracy", "steering")]
    order += ["norm", "accuracy", "steering"]
    more = len(names) - shown
    assert f"and {more} more : {', '.join(order[shown:])}" in text
    # Nothing is lost: the table has all of it.
    assert page.count("Do more. " * 79) == len(names)


def test_a_report_without_steering_says_what_is_still_open() -> None:
    page, _ = make_report(checks=[_check("contrast", "pass")])
    text = _text(page)
    assert "Usable To monitor; whether it steers has not been tested." in text
    assert "Set steering.evaluate: true in experiment.yaml" in text


def test_unfinished_judgements_are_a_reason() -> None:
    steering = steering_evaluation().model_copy(update={"unfinished": {"rate limit": 3}})
    page, _ = make_report(steering=steering, checks=[_check("steering", "pass")])
    assert "3 judgements are missing, and the choice may change" in _text(page)


def test_the_contents_lead_to_every_section() -> None:
    for steering in (None, steering_evaluation()):
        page, _ = make_report(steering=steering)
        links = re.findall(r'<a href="#([\w-]+)">', page)
        assert {"checks", "elicitation", "separation", "made"} <= set(links)
        assert ("steering" in links) == (steering is not None)
        for link in links:
            assert page.count(f' id="{link}"') == 1, link


def test_texts_are_shortened_at_a_sentence_or_a_word() -> None:
    assert shorten("  A  short\ntext. ", 40) == "A short text."
    first = "The poles differ in length and not only in the trait."
    assert shorten(f"{first} Ask for one length in both.", 60) == first
    assert shorten("word " * 30, 23) == "word word word word …"
    assert shorten("x" * 50, 10).startswith("x")


# -- that its lines work --------------------------------------------------------------------------


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_python_and_the_command_work_as_they_stand(finished: SmallProject) -> None:
    folder = finished.trait("refusal")
    recommended = folder.recommended()
    assert recommended is not None
    page = (folder.path / "validation/report.html").read_text("utf-8")
    program = f"{_code(page, 'python')}; print(vector.name, vector.coefficient, vector.verdict)"
    name = f"{recommended.method}_layer{recommended.layer}"
    printed = _run([sys.executable, "-W", "ignore", "-c", program], finished.folder)
    assert printed.split() == [name, str(recommended.coefficient), recommended.verdict]

    program_name, *arguments = shlex.split(_code(page, "command"))
    assert program_name == "traitvec"
    _run([*TRAITVEC, *arguments], finished.folder)
    from safetensors import safe_open

    with safe_open(finished.folder / "refusal.safetensors", "pt") as file:
        assert [key for key in file.keys() if name in key or "refusal" in key]  # noqa: SIM118


@pytest.mark.slow
def test_another_folder_of_experiments_is_named(finished: SmallProject) -> None:
    moved = finished.folder / "my runs"
    finished.project.experiments.rename(moved)
    page, _ = make_report(root=moved.name)
    command = shlex.split(_code(page, "command").replace("--trait trait", "--trait refusal"))
    python = _code(page, "python").replace('"trait"', '"refusal"')
    assert command[-2:] == ["--experiments-dir", "my runs"]
    _run([sys.executable, "-W", "ignore", "-c", f"{python}; vector.addition()"], finished.folder)


def test_the_report_is_read_back_as_it_was_written(finished: SmallProject) -> None:
    report = finished.trait("refusal").manifest(Report)
    assert [figure.name for figure in report.figures][:2] == ["trait_moved", "coherence_moved"]
    assert report.figures[0].missing.startswith("steering was not evaluated")
