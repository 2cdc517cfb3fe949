"""`traitvec scenarios`: what it prints, what it leaves as it is, and what comes after it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import write_experiment
from tests.providers.drafts import drafting, good_answers, good_draft
from tests.providers.server import FakeProvider
from traitvec_core.storage.trait_lock import using_trait

pytestmark = pytest.mark.slow

TRAIT = "refusal"
WRITER = "gpt-6.1-terra"
SCENARIOS = ("scenarios", "--experiment", "mine", "--trait", TRAIT)
FOLDER = Path(f"experiments/mine/{TRAIT}")
DEFINITION = FOLDER / "trait_definition.json"


@pytest.fixture
def server(traitvec: Command) -> Iterator[FakeProvider]:
    """A writer behind both providers' addresses, and an experiment whose judge cannot write."""
    write_experiment(Path(), "mine", [TRAIT])
    with FakeProvider(good_draft) as started:
        os.environ["OPENAI_BASE_URL"] = started.base_url_openai
        os.environ["ANTHROPIC_BASE_URL"] = started.base_url_anthropic
        os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = "sk-test"
        yield started


def test_a_finished_trait_gets_scenarios_and_stays_fresh_up_to_a_second_experiment(
    traitvec: Command, server: FakeProvider
) -> None:
    run = traitvec("run", "--experiment", "mine", "--trait", TRAIT)
    assert run.code == 0, run.err
    status = ("status", "--experiment", "mine", "--json")
    before = json.loads(traitvec(*status).out)
    refused = traitvec("new-experiment", "second", "--scenarios-of", "mine")
    assert refused.code == 1
    assert "`traitvec scenarios --experiment mine --trait NAME`" in refused.error_lines[-1]

    done = traitvec(*SCENARIOS, "--writer-model", WRITER)
    assert done.code == 0, done.err
    assert done.error_lines[0] == (
        f"scenarios of {TRAIT} by {WRITER}: 1 request (at most 2 with the linter's), at most $1"
    )
    assert f"added 10 scenarios to {DEFINITION}, by {WRITER} ($0." in done.out
    assert "next: traitvec new-experiment mine_scenarios --scenarios-of mine" in done.out
    assert json.loads(traitvec(*status).out) == before
    rerun = traitvec("run", "--experiment", "mine", "--trait", TRAIT)
    assert rerun.code == 0, rerun.err
    assert server.log.total == 1
    checked = traitvec("check", "--experiment", "mine", "--trait", TRAIT)
    assert f"; scenarios by {WRITER})" in checked.out

    second = traitvec("new-experiment", "mine_scenarios", "--scenarios-of", "mine")
    assert second.code == 0, second.err
    elicited = traitvec(
        "run", "--experiment", "mine_scenarios", "--trait", TRAIT, "--select", "responses"
    )
    assert elicited.code == 0, elicited.err
    shown = Path(f"experiments/mine_scenarios/{TRAIT}/responses/raw_pos.csv").read_text()
    assert good_answers()["scenarios"]["scenarios"][0]["pos"] in shown


def test_json_is_for_other_programs(traitvec: Command, server: FakeProvider) -> None:
    done = traitvec(*SCENARIOS, "--writer-model", "claude-haiku-4-5", "--json", "--seed", "3")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["scenarios"] == good_answers()["scenarios"]["scenarios"]
    assert (printed["record"]["model"], printed["record"]["seed"]) == ("claude-haiku-4-5", 3)
    assert printed["findings"] == []


def test_what_cannot_be_added_is_one_line_and_costs_nothing(
    traitvec: Command, server: FakeProvider
) -> None:
    before = DEFINITION.read_bytes()
    writing = ("--writer-model", WRITER)
    for arguments, says in (
        (SCENARIOS, "'embedded' cannot write definitions; name a model that can"),
        ((*SCENARIOS, *writing, "--max-usd", "0"), "raise max_usd (--max-usd) and run again"),
        ((*SCENARIOS[:-1], "other", *writing), "is missing"),
    ):
        done = traitvec(*arguments)
        assert done.code == 1
        assert says in done.error_lines[-1]
        assert len(done.error_lines[-1]) < 250
    with using_trait(FOLDER, "run 1a2b3c4d"):
        busy = traitvec(*SCENARIOS, *writing)
    assert busy.code == 1
    assert "cannot be changed now: it is in use by run 1a2b3c4d" in busy.error_lines[-1]
    assert server.log.total == 0
    assert DEFINITION.read_bytes() == before


def test_a_trait_that_has_scenarios_is_named_before_a_key_is_asked_for(
    traitvec: Command, server: FakeProvider
) -> None:
    definition = json.loads(DEFINITION.read_text())
    DEFINITION.write_text(json.dumps({**definition, **good_answers()["scenarios"]}))
    del os.environ["OPENAI_API_KEY"]
    done = traitvec(*SCENARIOS, "--writer-model", WRITER)
    [line] = done.error_lines
    assert (done.code, "has scenarios already" in line) == (1, True)


def test_after_a_faulty_writer_the_same_command_goes_on(
    traitvec: Command, server: FakeProvider
) -> None:
    before = DEFINITION.read_bytes()
    server.responder = drafting({"scenarios": [lambda good: "no"]})
    failed = traitvec(*SCENARIOS, "--writer-model", WRITER)
    assert failed.code == 1
    assert "10 scenarios: 4 answers of 'gpt-6.1-terra' were unusable" in failed.error_lines[-1]
    assert DEFINITION.read_bytes() == before
    server.responder = good_draft
    done = traitvec(*SCENARIOS, "--writer-model", WRITER)
    assert done.code == 0, done.err
    # All of it counts as the cost.
    assert "5 answers)" in done.out
