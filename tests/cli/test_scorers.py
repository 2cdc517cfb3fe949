"""Scorers on the command line: what is wrong is one line, before anything runs."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import write_experiment

SCORERS = "def words(question, response):\n    return min(100, len(response.split()))\n"


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    folder = write_experiment(
        tmp_path / "project", "mine", ["refusal", "verbosity"],
        {
            # Nothing uses it, so it needs no key.
            "judge_model": "gpt-5-mini",
            "scorers": {
                "refusal": "python:scorers.py:words", "verbosity": "python:scorers.py:words",
            },
            "coherence_judge": "repetition",
            "steering": {"evaluate": True},
        },
    )  # fmt: skip
    (folder / "scorers.py").write_text(SCORERS)
    return folder


def test_an_experiment_with_scorers_needs_no_key_and_costs_nothing(
    traitvec: Command, experiment: Path
) -> None:
    checked = traitvec("check", "--experiment", "mine")
    assert checked.code == 0, checked.err
    estimated = traitvec("estimate", "--experiment", "mine", "--json")
    assert estimated.code == 0, estimated.err
    rows = json.loads(estimated.out)["traits"]
    assert {row["judge"] for row in rows} == {"python:scorers.py:words", "repetition"}
    assert {row["purpose"] for row in rows} == {"scores", "steering"}
    assert {row["usd"] for row in rows} == {0.0}
    # A trait without a scorer falls to the judge.
    alone = traitvec(
        "run", "--experiment", "mine", "--trait", "all", "--set", "scorers={verbosity: gpt-5-mini}"
    )
    assert alone.code == 1
    (line,) = alone.error_lines[-1:]
    assert "OPENAI_API_KEY" in line


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("python:missing.py:words", "missing.py: there is no such file"),
        ("python:scorers.py:sentences", "has no function sentences; it has words"),
        ("python:../scorers.py:words", "must be a .py file inside the experiment's folder"),
        ("hf-classifier:mine", "write hf-classifier:MODEL:LABEL"),
    ],
)
def test_a_scorer_that_cannot_work_is_one_line(
    traitvec: Command, experiment: Path, name: str, says: str
) -> None:
    refused = traitvec(
        "run", "--experiment", "mine", "--trait", "all", "--set", f"scorers.refusal={name}"
    )
    assert refused.code == 1
    assert says in " ".join(refused.error_lines)
    assert not (experiment / "refusal" / "responses").exists()
