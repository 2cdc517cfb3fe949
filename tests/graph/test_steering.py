"""The steering stage: its files, resuming it, and how the report uses it."""

import json
from pathlib import Path

import pytest

from tests.faults.unfinished import copy_unfinished
from tests.projects import SmallProject, write_experiment
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.steering_evaluation.result import read_steering

SETTINGS = {
    "n_examples": 20,
    "methods": ["mean_diff"],
    "layers": [2, 3],
    "steering": {"n_search": 5, "n_held_out": 10, "n_random": 1, "side_effects": ["verbosity"]},
}

# A project sets the environment of its process.
pytestmark = pytest.mark.usefixtures("own_module_environment")


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory, own_module_environment: None) -> SmallProject:
    folder = tmp_path_factory.mktemp("steered")
    write_experiment(folder, "demo", ["refusal", "verbosity"], SETTINGS)
    with SmallProject(folder) as project:
        run = project.run("refusal")
        assert run.is_success, run.problems
        return project


def test_the_evaluation_is_on_disk_and_in_the_ui(steered: SmallProject) -> None:
    folder = steered.trait("refusal")
    found = read_steering(folder)
    assert found is not None
    best = found.recommendation
    assert best is not None
    assert best.layer in {2, 3}
    assert best.chosen_by == "steering"
    assert found.steered is not None
    assert set(found.search_questions).isdisjoint(found.held_out_questions)
    assert [effect.trait for effect in found.side_effects] == ["verbosity"]
    record = folder.metadata("steering_evaluation")
    assert record["provenance"]["cost"]["tokens_in"] > found.tokens_in > 0
    lines = (folder.path / "steering/responses.csv").read_text("utf-8")
    assert lines.startswith('"')
    shown = steered.materializations("steering_evaluation", "refusal")[0].metadata
    assert shown["layer"].value == best.layer
    assert shown["coefficient"].value == best.coefficient
    assert {"dose_response", "controls", "moved", "moved_low", "random_moved"} <= set(shown)
    # The report comes later, so that there is no verdict yet.
    assert shown["verdict"].value == "no verdict"
    assert "not judged yet" in str(shown["reasons"].value)
    # Nothing more of it is needed once it is made.
    assert not list(folder.path.glob("responses/.steering*"))


def test_the_recommendation_comes_from_steering(steered: SmallProject) -> None:
    folder = steered.trait("refusal")
    found = read_steering(folder)
    assert found is not None
    assert found.recommendation is not None
    told = json.loads((folder.path / "validation/recommended.json").read_text())
    assert told == found.recommendation.model_dump()
    assert folder.metadata("validation_report")["recommended"] == told


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(
    steered: SmallProject, tmp_path: Path
) -> None:
    class InterruptedError_(Exception):
        pass

    copy_unfinished(tmp_path / "project", steered.folder, "steering_evaluation")
    with SmallProject(tmp_path / "project") as project:
        settings, folder = project.settings(), project.trait("refusal")
        assert project.states("refusal")["vectors"] == "fresh"

        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            if done > 30:
                raise InterruptedError_

        with pytest.raises(InterruptedError_):
            make("steering_evaluation", folder, settings, Workbench(progress=progress))
        assert project.states("refusal")["steering_evaluation"] == "missing"
        (journal,) = folder.path.glob("responses/.steering*")
        assert len(journal.read_text("utf-8").splitlines()) > 30
        made = make("steering_evaluation", folder, settings, Workbench())
        assert not made.is_reused
        assert not journal.exists()
        name = "steering/responses.csv"
        assert (folder.path / name).read_bytes() == (
            steered.trait("refusal").path / name
        ).read_bytes()


def test_without_evaluation_the_report_says_what_its_choice_rests_on(
    finished: SmallProject,
) -> None:
    folder = finished.trait("refusal")
    assert read_steering(folder) is None
    assert folder.metadata("validation_report")["recommended"]["chosen_by"] == (
        "held-out separation"
    )
    assert finished.states("refusal")["steering_evaluation"] == "fresh"
    finished.set(steering={"evaluate": True})
    assert finished.states("refusal")["steering_evaluation"] == "stale"
    assert finished.states("refusal")["vectors"] == "fresh"
