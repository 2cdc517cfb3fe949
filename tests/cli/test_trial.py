"""`traitvec try`: what it prints, changes and refuses."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.projects import write_experiment
from tests.providers.server import FakeProvider
from tests.trial.rewording import QUESTION, good_rewording
from tests.trial.traits import USUAL, sabotaged

pytestmark = pytest.mark.slow

TRAIT = "verbosity"
TRY = ("try", "--experiment", "mine", "--trait", TRAIT)
DEFINITION = Path(f"experiments/mine/{TRAIT}/trait_definition.json")


@pytest.fixture
def project(traitvec: Command) -> None:
    """A trait whose fourth pair and ninth question elicit nothing."""
    write_experiment(Path(), "mine", [TRAIT], USUAL)
    definition = sabotaged(TRAIT)
    definition["questions"][0] = "[red]What\x1b[31m would you tell a neighbour about dumplings?"
    DEFINITION.write_text(json.dumps(definition))


def test_a_trial_says_its_cost_before_and_after_and_the_run_reuses_it(
    traitvec: Command, project: None
) -> None:
    done = traitvec(*TRY)
    assert done.code == 0, done.err
    first, *_ = done.error_lines
    assert first == (f"trying {TRAIT}: 100 responses, 200 judgements by embedded, nothing to pay")
    assert "elicit nothing: instruction[3], questions[8]" in done.out
    assert (
        "spent: judge $0.0000; 100 responses generated; the run reuses 100 of its 200" in done.out
    )
    assert "by question (10 of 20 tried):" in done.out
    assert f"traitvec try --experiment mine --trait {TRAIT} --revise (or --drop)" in done.out
    # A user's and a model's texts are shown, not obeyed.
    assert "[red]What" in done.out
    assert "\x1b" not in done.out
    again = traitvec(*TRY)
    assert "(100 are there already)" in again.error_lines[0]
    run = traitvec("run", "--experiment", "mine", "--trait", TRAIT, "--select", "responses")
    assert run.code == 0, run.err
    metadata = DEFINITION.parent / "responses/generation_metadata.json"
    assert json.loads(metadata.read_text())["resumed_from"] == 100


def test_json_is_for_other_programs_and_yes_changes_without_asking(
    traitvec: Command, project: None
) -> None:
    with FakeProvider(good_rewording(TRAIT)) as server:
        os.environ["OPENAI_BASE_URL"] = server.base_url_openai
        os.environ["OPENAI_API_KEY"] = "sk-test"
        done = traitvec(*TRY, "--revise", "--yes", "--writer-model", "gpt-6.1-terra", "--json")
    assert done.code == 0, done.err
    printed: Any = json.loads(done.out)
    assert printed["ending"] == "reached"
    assert printed["revisions"][0]["earlier"] == "trait_definition.1.json"
    assert printed["writer_usd"] > 0
    assert "rewording by gpt-6.1-terra, at most $1" in done.error_lines[0]
    assert f"questions[8] + {QUESTION}" in done.err
    assert json.loads(DEFINITION.read_text())["questions"][8] == QUESTION
    checked = traitvec("check", "--experiment", "mine")
    assert checked.code == 0, checked.out
    assert "revised 1 time by `try`" in checked.out
    verified = traitvec("verify", "--experiment", "mine")
    assert "trait_definition.1" not in verified.out


def test_drop_removes_what_elicits_nothing(traitvec: Command, project: None) -> None:
    done = traitvec(*TRY, "--drop", "--yes")
    assert done.code == 0, done.err
    dropped = (
        "dropped instruction[3], questions[8]; the definition before is trait_definition.1.json"
    )
    assert dropped in done.out
    assert len(json.loads(DEFINITION.read_text())["questions"]) == 19


def test_a_judge_that_cannot_write_is_a_note(traitvec: Command, project: None) -> None:
    done = traitvec(*TRY, "--revise", "--yes")
    assert done.code == 0
    assert "'embedded' cannot write definitions" in done.err
    assert "elicit nothing: instruction[3], questions[8]" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*TRY, "--revise"), "where nobody can answer, add --yes"),
        ((*TRY, "--drop"), "where nobody can answer, add --yes"),
        ((*TRY, "--max-usd", "1"), "belong to --revise"),
        (("try", "--experiment", "mine", "--trait", "none"), "is missing"),
        (("try", "--experiment", "none", "--trait", TRAIT), "there is no experiment 'none'"),
        ((*TRY, "--set", "sampling.sed=1"), "no such setting"),
    ],
)
def test_what_cannot_be_tried_is_one_line(
    traitvec: Command, project: None, arguments: tuple[str, ...], says: str
) -> None:
    done = traitvec(*arguments)
    assert done.code == 1
    assert says in done.error_lines[-1]
    assert not (DEFINITION.parent / "responses").exists()
