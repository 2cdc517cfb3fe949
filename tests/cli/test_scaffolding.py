"""help, new-experiment, new-trait, check: from nothing to something that can be run."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Command
from tests.projects import DEMO, write_experiment

HELP = {
    (): ("new-experiment", "new-trait", "check", "run", "status", "doctor", "ui"),
    ("new-experiment",): ("--model", "--judge-model", "--description", "--experiments-dir"),
    ("new-trait",): ("--experiment", "--trait", "--description", "--example", "--force"),
    ("scenarios",): ("--experiment", "--trait", "--writer-model", "--max-usd"),
    ("check",): ("--experiment", "--trait"),
    ("run",): (
        "--experiment", "--trait", "--traits", "--select", "--gen-model", "--model",
        "--judge-model", "--n-examples", "--batch-size", "--max-concurrent-judges", "--threshold",
        "--methods", "--layers", "--set", "activations+", "judged_responses",
        "Fresh stages are reused",
    ),
    ("status",): ("--experiment", "--json"),
    ("doctor",): ("GPU, keys, disk and Dagster",),
    ("ui",): ("--port", "--host", "127.0.0.1", "3000"),
}  # fmt: skip


@pytest.mark.parametrize("command", HELP, ids=lambda command: " ".join(command) or "traitvec")
def test_help_teaches(traitvec: Command, command: tuple[str, ...]) -> None:
    done = traitvec(*command, "--help")
    assert done.code == 0
    for said in HELP[command]:
        assert said in done.out


def test_help_is_wrapped_to_the_terminal_and_not_as_the_source_is(
    traitvec: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = traitvec("new-trait", "--help")
    prose = [line.strip() for line in done.out.partition("Options")[0].splitlines()]
    assert any(line.endswith("goes on and pays for nothing twice.") for line in prose)
    # A command to type begins on a line of its own.
    assert "traitvec new-trait --experiment mine --trait sycophancy --example" in prose


def test_a_new_experiment_is_one_that_loads(traitvec: Command) -> None:
    done = traitvec("new-experiment", "mine", "--description", "for: trying")
    assert done.code == 0, done.err
    assert "wrote experiments/mine/experiment.yaml" in done.out
    assert "next: traitvec new-trait --experiment mine" in done.out
    written = yaml.safe_load(Path("experiments/mine/experiment.yaml").read_text())
    assert written == {
        "description": "for: trying", "model": "embedded", "judge_model": "embedded"
    }  # fmt: skip
    again = traitvec("new-experiment", "mine")
    assert again.code == 1
    assert len(again.error_lines) == 1
    assert "exists already" in again.err


@pytest.mark.parametrize("name", ["../evil", "a/b", "/etc", ".", "A b", "x" * 300, "_x", "ä"])
def test_a_name_that_is_no_folder_is_refused(traitvec: Command, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    for arguments in (
        ("new-experiment", name),
        ("run", "--experiment", name, "--trait", "all"),
        ("status", "--experiment", name),
        ("check", "--experiment", name),
        ("new-trait", "--experiment", name, "--trait", "fine"),
    ):
        done = traitvec(*arguments)
        assert done.code == 1
        (line,) = done.error_lines
        assert "cannot be used as a folder name" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_form_must_be_filled_in(traitvec: Command) -> None:
    traitvec("new-experiment", "mine")
    made = traitvec("new-trait", "--experiment", "mine", "--trait", "dry_wit")
    assert made.code == 0
    assert "then: traitvec check --experiment mine" in made.out
    form = json.loads(Path("experiments/mine/dry_wit/trait_definition.json").read_text())
    assert (len(form["instruction"]), len(form["questions"])) == (10, 20)
    assert len(form["eval_questions"]) == 10
    checked = traitvec("check", "--experiment", "mine")
    assert checked.code == 1
    # Every gap is counted: 10 pairs, 20 + 10 questions, the description; the first ten are shown.
    assert checked.error_lines[-2:] == ["error: and 41 more problems", "51 problems"]
    assert len(checked.error_lines) == 12
    assert all("still contains the form's text" in line for line in checked.error_lines[:-2])
    run = traitvec("run", "--experiment", "mine", "--trait", "dry_wit")
    assert run.code == 1
    assert any("still contains the form's text" in line for line in run.error_lines)
    assert not Path("experiments/mine/dry_wit/responses").exists()


def test_an_example_can_be_used_at_once_and_is_not_overwritten(traitvec: Command) -> None:
    traitvec("new-experiment", "mine")
    ask = ("new-trait", "--experiment", "mine", "--trait", "sycophancy")
    assert traitvec(*ask, "--example").code == 0
    checked = traitvec("check", "--experiment", "mine")
    assert checked.code == 0, checked.err
    assert "sycophancy: ok (10 pairs, 20 questions)" in checked.out
    again = traitvec(*ask)
    assert again.code == 1
    assert again.error_lines[0].endswith("--force replaces it")
    assert traitvec(*ask, "--force").code == 0
    for name in ("../evil", "A b"):
        done = traitvec("new-trait", "--experiment", "mine", "--trait", name)
        assert done.code == 1
        assert len(done.error_lines) == 1


def test_the_form_has_gaps_for_what_the_experiment_elicits_by(traitvec: Command) -> None:
    traitvec("new-experiment", "mine")
    with Path("experiments/mine/experiment.yaml").open("a") as settings:
        settings.write("elicitation: scenarios\n")
    ask = ("new-trait", "--experiment", "mine", "--trait", "dry_wit")
    assert traitvec(*ask).code == 0
    form = json.loads(Path("experiments/mine/dry_wit/trait_definition.json").read_text())
    assert len(form["scenarios"]) == 10
    assert "instruction" not in form
    assert traitvec("check", "--experiment", "mine").error_lines[-1] == "51 problems"
    # The worked example serves both.
    assert traitvec(*ask, "--example", "--force").code == 0
    checked = traitvec("check", "--experiment", "mine")
    assert checked.code == 0, checked.err
    assert "dry_wit: ok (10 pairs of openings, 20 questions)" in checked.out


def test_check_misses_the_openings_that_the_setting_needs(traitvec: Command) -> None:
    write_experiment(Path(), "mine", ["refusal"], {"elicitation": "scenarios"})
    done = traitvec("check", "--experiment", "mine")
    assert done.code == 1
    line, count = done.error_lines
    assert line.endswith(
        "refusal/trait_definition.json has no 'scenarios', which elicitation: scenarios needs; add"
        " pairs (`traitvec scenarios`), or set elicitation: instructions"
    )
    assert count == "1 problem"
    for arguments in (("estimate",), ("run", "--trait", "refusal")):
        again = traitvec(*arguments, "--experiment", "mine")
        assert again.code == 1
        assert "which elicitation: scenarios needs" in again.err
        assert "Traceback" not in again.err
    assert "BROKEN" in traitvec("status", "--experiment", "mine").out


def test_check_tells_every_problem_at_once(traitvec: Command) -> None:
    folder = write_experiment(Path(), "mine", ["refusal"], {"n_exmaples": 3, "layers": [1, 1]})
    for name, content in (
        ("empty", ""),
        (
            "no_answer",
            json.dumps({"instruction": [{"pos": "x"}], "questions": [], "eval_prompt": "y"}),
        ),
    ):
        (folder / name).mkdir()
        (folder / name / "trait_definition.json").write_text(content)
    done = traitvec("check", "--experiment", "mine")
    assert done.code == 1
    expected = (
        "experiment.yaml: n_exmaples: no such setting",
        "experiment.yaml: layers: must be distinct numbers",
        "empty/trait_definition.json: is empty",
        "no_answer/trait_definition.json: instruction[0] has no negative pole",
        "no_answer/trait_definition.json: questions must be a list of at least 2",
        "no_answer/trait_definition.json: eval_prompt has no {answer}",
        "no_answer/trait_definition.json: eval_prompt has no {question}",
    )
    *lines, count = done.error_lines
    assert len(lines) == len(expected)
    assert all(line.startswith("error: ") for line in lines)
    for says in expected:
        assert sum(says in line for line in lines) == 1, says
    assert count == "7 problems"
    assert "refusal: ok" in done.out


def test_check_of_what_is_not_there(traitvec: Command) -> None:
    nothing = traitvec("check", "--experiment", "mine")
    assert nothing.code == 1
    assert "`traitvec new-experiment mine` creates it" in nothing.error_lines[0]
    traitvec("new-experiment", "mine")
    empty = traitvec("check", "--experiment", "mine")
    assert empty.code == 1
    assert "has no trait" in empty.error_lines[0]
    missing = traitvec("check", "--experiment", "mine", "--trait", "wit")
    assert missing.code == 1
    assert "is missing; `traitvec new-trait --experiment mine --trait wit`" in missing.err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"judge_model": "gpt-4.1-mini"}, "set OPENAI_API_KEY in the environment or in .env"),
        ({"judge_model": "claude-haiku-4-5"}, "set ANTHROPIC_API_KEY in the environment"),
        ({"second_judge": "claude-haiku-4-5"}, "set ANTHROPIC_API_KEY in the environment"),
        ({"judge_mode": "batch"}, "judge_mode: batch needs a provider that accepts batches"),
        (
            {"judge_base_url": "http://127.0.0.1:1/v1", "judge_model": "own", "max_judge_usd": 1},
            "needs the price of 'own', which is unknown; add `judge_prices:",
        ),
    ],
    ids=["openai", "anthropic", "second", "batch", "price"],
)
def test_a_judge_that_cannot_work_is_refused_before_anything_runs(
    traitvec: Command, settings: dict[str, object], says: str
) -> None:
    experiment = write_experiment(Path(), "mine", ["refusal"], settings)
    for arguments in (("check",), ("run", "--trait", "all")):
        done = traitvec(*arguments, "--experiment", "mine")
        assert done.code == 1
        (line,) = [line for line in done.error_lines if line.startswith("error:")]
        assert says in line
    assert not (experiment / "refusal/responses").exists()


def test_the_demo_is_in_order(traitvec: Command) -> None:
    done = traitvec("check", "--experiment", "demo", "--experiments-dir", str(DEMO.parent))
    assert done.code == 0, done.err
    for trait in ("refusal", "uncertainty", "verbosity"):
        assert f"{trait}: ok (10 pairs, 20 questions)" in done.out
