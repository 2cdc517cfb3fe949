"""`traitvec check`: what the linter finds, folded, accepted and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Command
from traitvec_core.settings.trait_form import scaffold_definition

QUESTIONS = [
    "Is tea healthy?",
    "Do cats purr?",
    "Are ships heavy?",
    "Was Rome big?",
    "Do bees sing?",
]


@pytest.fixture
def weak(traitvec: Command) -> Path:
    """An experiment whose one trait has a neutral pole and five yes/no questions."""
    assert traitvec("new-experiment", "mine").code == 0
    raw: dict[str, Any] = json.loads(scaffold_definition("flattery", example=True))
    raw["questions"][: len(QUESTIONS)] = QUESTIONS
    raw["instruction"][2]["neg"] = "Respond normally."
    folder = Path("experiments/mine")
    (folder / "flattery").mkdir()
    (folder / "flattery/trait_definition.json").write_text(json.dumps(raw))
    return folder


def test_findings_are_grouped_folded_and_never_block(traitvec: Command, weak: Path) -> None:
    done = traitvec("check", "--experiment", "mine")
    assert done.code == 0, done.err
    text = " ".join(done.out.split())
    assert "flattery: 1 warning, " in text
    assert text.index("warning: neutral_pole") < text.index("hint: yes_no_question")
    assert "instruction[2].neg: neg asks for nothing" in text
    assert "questions[2]" in text
    assert "questions[3]" not in text
    assert "and 2 more" in text
    everything = traitvec("check", "--experiment", "mine", "--all").out
    assert "questions[4]" in everything
    assert "more (--all" not in everything


def test_json_has_every_finding(traitvec: Command, weak: Path) -> None:
    done = traitvec("check", "--experiment", "mine", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["problems"] == []
    findings = result["traits"]["flattery"]["findings"]
    assert {"place", "rule", "severity", "reason", "fix"} == set(findings[0])
    places = [f["place"] for f in findings if f["rule"] == "yes_no_question"]
    assert places == [f"questions[{i}]" for i in range(5)]
    (weak / "flattery/trait_definition.json").write_text("{}")
    broken = traitvec("check", "--experiment", "mine", "--json")
    assert broken.code == 1
    assert len(json.loads(broken.out)["traits"]["flattery"]["problems"]) == 3


def test_an_accepted_definition_is_one_line(traitvec: Command, weak: Path) -> None:
    path = weak / "experiment.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["accepted"] = {"flattery": {"definition": "a first try"}}
    path.write_text(yaml.safe_dump(settings))
    text = " ".join(traitvec("check", "--experiment", "mine").out.split())
    assert "accepted (a first try)" in text
    assert "neutral_pole" not in text
    assert "neutral_pole" in traitvec("check", "--experiment", "mine", "--all").out
