"""`traitvec new-experiment NAME --scenarios-of OTHER`: the same traits, elicited another way."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import demo_definition
from traitvec_core.storage.folders import ExperimentFolder

YAML = """\
# lists against prose
model: embedded
judge_model: embedded
scorers: {lists: "python:scorers.py:lists"}  # a rule
sampling:
  max_new_tokens: 24
"""


@pytest.fixture
def mine(traitvec: Command) -> Path:
    """Two traits, one with scenarios, and a scorer's file."""
    folder = Path("experiments/mine").absolute()
    for trait in ("lists", "refusal"):
        (folder / trait).mkdir(parents=True)
        definition = demo_definition("refusal")
        if trait == "lists":
            definition["scenarios"] = [{"pos": "My list:", "neg": "My paragraph:"}]
        (folder / trait / "trait_definition.json").write_text(json.dumps(definition))
    (folder / "experiment.yaml").write_text(YAML)
    (folder / "scorers.py").write_text("def lists(question, response):\n    return 0\n")
    return folder


def test_settings_definitions_and_scorers_are_copied(
    traitvec: Command, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRAITVEC_TRUST")
    done = traitvec("new-experiment", "told", "--scenarios-of", "mine")
    assert done.code == 0, done.err
    told = mine.parent / "told"
    assert "wrote experiments/told/experiment.yaml, with lists" in done.out
    # Nobody has allowed that folder's file to run.
    assert "next: traitvec trust told" in done.out
    assert (told / "lists/trait_definition.json").read_bytes() == (
        mine / "lists/trait_definition.json"
    ).read_bytes()
    assert (told / "scorers.py").read_bytes() == (mine / "scorers.py").read_bytes()
    assert not (told / "refusal").exists()
    own, new = (ExperimentFolder(mine.parent, name).settings() for name in ("mine", "told"))
    assert (own.second_elicitation, new.second_elicitation) == ("told", "mine")
    assert (own.elicitation, new.elicitation) == ("instructions", "scenarios")
    differing = {"second_elicitation", "elicitation"}
    assert own.model_dump(exclude=differing) == new.model_dump(exclude=differing)
    for folder in (mine, told):
        assert (folder / "experiment.yaml").read_text().startswith(YAML)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("elicitation: scenarios", "has elicitation: scenarios already"),
        ("second_elicitation: third", "names third as its second_elicitation already"),
        ("n_examples: many", "n_examples"),
    ],
)
def test_what_cannot_be_copied_is_said_in_a_line(
    traitvec: Command, mine: Path, line: str, said: str
) -> None:
    (mine / "experiment.yaml").write_text(f"{YAML}{line}\n")
    done = traitvec("new-experiment", "told", "--scenarios-of", "mine")
    assert done.code == 1
    assert said in done.err
    assert not (mine.parent / "told").exists()
    assert (mine / "experiment.yaml").read_text() == f"{YAML}{line}\n"


def test_without_scenarios_there_is_nothing_to_copy(traitvec: Command, mine: Path) -> None:
    (mine / "lists/trait_definition.json").unlink()
    done = traitvec("new-experiment", "told", "--scenarios-of", "mine")
    assert done.code == 1
    (error,) = done.error_lines
    assert "no definition has scenarios" in error
    assert not (mine.parent / "told").exists()


def test_a_model_that_the_name_implies_is_written_down(traitvec: Command, mine: Path) -> None:
    named = mine.rename(mine.parent / "gemma_2b_mine")
    (named / "experiment.yaml").write_text("n_examples: 8\n")
    done = traitvec("new-experiment", "told", "--scenarios-of", "gemma_2b_mine")
    assert done.code == 0, done.err
    assert ExperimentFolder(mine.parent, "told").settings().model == "google/gemma-2-2b-it"
