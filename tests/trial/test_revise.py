"""Revising: what is named is reworded or dropped, tried again, and nothing is lost."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeOnce
from tests.projects import demo_definition
from tests.providers.drafts import answer
from tests.providers.replies import Call, Reply
from tests.trial.rewording import QUESTION, good_rewording, useless_rewording
from tests.trial.traits import USUAL, sabotaged, small_trait
from tests.writing.conftest import Serve
from traitvec_core import (
    ExperimentFolder,
    ExperimentSettings,
    TraitFolder,
    TraitvecError,
    load_writer,
    make,
    revise_trait,
    try_trait,
)
from traitvec_core.trial import Change, Revised, Trial

pytestmark = pytest.mark.slow

TRAIT = "verbosity"
WRITER = "gpt-6.1-terra"


@pytest.fixture(scope="module")
def tried(make_once: MakeOnce) -> Path:
    """A trait whose fourth pair and ninth question elicit nothing, and its first trial."""

    def fill(root: Path) -> None:
        folder = small_trait(root, TRAIT, **USUAL)
        folder.definition_path.write_text(json.dumps({**sabotaged(TRAIT), "mine": "stays"}))
        try_trait(folder, _settings(folder))

    return make_once("tried", fill)


@pytest.fixture
def folder(tried: Path, tmp_path: Path) -> TraitFolder:
    """A copy of that trait: revising it generates its responses no second time."""
    shutil.copytree(tried, tmp_path, dirs_exist_ok=True)
    return ExperimentFolder(tmp_path / "experiments", "demo").trait(TRAIT)


def _settings(folder: TraitFolder) -> ExperimentSettings:
    return ExperimentFolder(folder.path.parent.parent, folder.path.parent.name).settings()


def _revise(folder: TraitFolder, **options: Any) -> Revised:
    settings = _settings(folder)
    if "writer" not in options:
        options["writer"] = load_writer(WRITER, settings)
    return revise_trait(folder, settings, **options)


def _written(folder: TraitFolder, name: str = "trait_definition.json") -> Any:
    return json.loads((folder.path / name).read_text())


def test_rewording_what_is_named_reaches_the_contrast(serve: Serve, folder: TraitFolder) -> None:
    server = serve(good_rewording(TRAIT))
    before = folder.definition_path.read_bytes()
    trials: list[Trial] = []
    revised = _revise(folder, on_trial=trials.append)
    assert revised.ending == "reached"
    assert [len(trial.elicit_nothing) for trial in trials] == [2, 0]
    (revision,) = revised.revisions
    assert [change.place for change in revision.changes] == ["instruction[3]", "questions[8]"]
    assert revision.has_moved
    assert not revision.is_undone
    assert revision.earlier == "trait_definition.1.json"
    assert (folder.path / revision.earlier).read_bytes() == before
    written = _written(folder)
    assert written["mine"] == "stays"
    assert written["questions"][8] == QUESTION
    assert written["instruction"] == demo_definition(TRAIT)["instruction"]
    (record,) = written["draft"]["revisions"]
    assert record["model"] == WRITER
    assert record["reworded"] == ["instruction[3]", "questions[8]"]
    assert record["usd"] == pytest.approx(revised.writer_usd)
    assert revised.writer_usd
    assert server.log.total == 2
    # Only what was reworded is generated a second time.
    assert trials[1].generated <= 20
    make("responses", folder, _settings(folder))
    resumed = folder.metadata("responses")["resumed_from"]
    assert resumed == revised.trial.reused_by_run == trials[1].n_responses


def test_rewording_that_does_not_help_ends_and_what_still_elicits_nothing_is_dropped(
    serve: Serve, folder: TraitFolder
) -> None:
    serve(useless_rewording)
    revised = _revise(folder, drop=True)
    assert revised.ending == "did not move"
    *reworded, dropped = revised.revisions
    assert len(reworded) == 1
    assert {change.place for change in dropped.changes} == {"instruction[3]", "questions[8]"}
    written = _written(folder)
    assert (len(written["instruction"]), len(written["questions"])) == (9, 19)
    assert written["instruction"][3] == demo_definition(TRAIT)["instruction"][4]
    versions = sorted(path.name for path in folder.path.glob("trait_definition.*.json"))
    assert dropped.earlier == versions[-1]
    assert len(_written(folder, versions[-1])["instruction"]) == 10
    make("responses", folder, _settings(folder))
    assert folder.metadata("responses")["resumed_from"] == revised.trial.reused_by_run > 0


def test_a_change_that_is_not_wanted_leaves_the_file_and_costs_nothing_again(
    serve: Serve, folder: TraitFolder
) -> None:
    server = serve(good_rewording(TRAIT))
    before = folder.definition_path.read_bytes()
    seen: list[Change] = []

    def refuse(trial: Trial, changes: Sequence[Change]) -> bool:
        seen.extend(changes)
        return False

    revised = _revise(folder, confirm=refuse)
    assert revised.ending == "refused"
    assert revised.revisions == []
    assert revised.writer_usd
    assert seen[1].after == [QUESTION]
    assert folder.definition_path.read_bytes() == before
    assert not list(folder.path.glob("trait_definition.*.json"))
    again = _revise(folder)
    assert again.ending == "reached"
    assert server.log.total == 2
    # What was kept of the rewording is gone once it is written.
    assert not list((folder.path.parent / ".drafts").glob("*.json"))


def test_a_faulty_writer_is_one_line_and_the_definition_stays(
    serve: Serve, folder: TraitFolder
) -> None:
    def repeats(call: Call) -> Reply:
        return answer(call, {"pairs": [sabotaged(TRAIT)["instruction"][3]]})

    server = serve(repeats)
    before = folder.definition_path.read_bytes()
    with pytest.raises(TraitvecError, match=r"4 answers of .* were unusable") as failure:
        _revise(folder)
    assert "\n" not in str(failure.value)
    assert "already there" in str(failure.value)
    assert folder.definition_path.read_bytes() == before
    assert server.log.total == 4


def test_the_budget_is_kept(serve: Serve, folder: TraitFolder) -> None:
    server = serve(good_rewording(TRAIT))
    with pytest.raises(TraitvecError, match="raise max_usd"):
        _revise(folder, max_usd=0.0)
    assert server.log.total == 0


def test_without_a_writer_the_named_are_only_dropped_on_request(
    own_environment: None, folder: TraitFolder
) -> None:
    before = folder.definition_path.read_bytes()
    assert _revise(folder, writer=None).ending == "no writer"
    assert folder.definition_path.read_bytes() == before
    dropped = _revise(folder, writer=None, drop=True)
    assert len(dropped.revisions) == 1
    assert len(_written(folder)["instruction"]) == 9
