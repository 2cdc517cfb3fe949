"""The steering stage: its files, resuming it, and how the report uses it."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from tests.faults.unfinished import copy_unfinished
from tests.projects import SmallProject, demo_definition, edit_metadata, write_experiment
from traitvec_core.stage_names import METADATA_FILE
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.steering_evaluation.result import Damage, SteeringManifest, read_steering
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.table import evaluate_check

STEERING = {"n_search": 5, "n_held_out": 10, "n_random": 4}
SETTINGS = {
    "n_examples": 20,
    "methods": ["mean_diff"],
    "layers": [2, 3],
    "steering": STEERING,
}

# A project sets the environment of its process.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_module_environment")]


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
    best = found.tested
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
    assert shown["layer"].value == str(best.layer)
    assert shown["coefficient"].value == best.coefficient
    assert shown["steers"].value == found.test.steers
    figures = {"moved", "moved_low", "random_moved", "bound", "p_value", "wrong_way", "added_norm"}
    assert figures | {"dose_response", "controls", "what_else_changes"} <= set(shown)
    # The report comes later, so that there is no verdict yet; and a dose that does not steer is not
    # the recommended one.
    assert shown["verdict"].value == "no verdict"
    expected = "not judged yet" if found.test.steers else "not the recommended vector"
    assert expected in str(shown["reasons"].value)
    # Nothing more of it is needed once it is made.
    assert not list(folder.path.glob("responses/.steering*"))


def test_the_recommendation_comes_from_steering(steered: SmallProject) -> None:
    folder = steered.trait("refusal")
    found = read_steering(folder)
    assert found is not None
    assert found.recommendation is not None
    recommended = json.loads((folder.path / "validation/recommended.json").read_text())
    assert folder.metadata("validation_report")["recommended"] == recommended
    # The report adds the verdict; the rest is what steering chose.
    assert recommended["verdict"] is not None
    assert recommended["reasons"]
    chosen = found.recommendation.model_dump(exclude={"verdict", "reasons"})
    assert recommended == {**recommended, **chosen}


def test_the_check_says_whether_it_steers(steered: SmallProject) -> None:
    folder, settings = steered.trait("refusal"), steered.settings()
    found = read_steering(folder)
    assert found is not None
    check = evaluate_check("steering", folder, settings)
    assert (check.verdict == "fail") == (not found.test.steers)
    assert check.figures["effect"] == found.test.effect.value
    in_report = {c["name"]: c for c in folder.metadata("validation_report")["checks"]}
    assert in_report["steering"]["verdict"] == check.verdict
    key = dg.AssetCheckKey(steered.graph().key("steering_evaluation"), "steering")
    (record,) = steered.instance.event_log_storage.get_asset_check_execution_history(key, 10)
    assert record.partition == "refusal"


def test_auto_skips_what_the_forecast_calls_hopeless(steered: SmallProject, tmp_path: Path) -> None:
    copy_unfinished(tmp_path / "project", steered.folder, "steering_evaluation")
    with SmallProject(tmp_path / "project") as project:
        folder = project.trait("refusal")
        _forecast(folder, is_hopeless=True)
        assert project.run("refusal", select="steering_evaluation+").is_success
        record = folder.manifest(SteeringManifest)
        assert (record.is_evaluated, record.skipped) == (False, "the differences disagree")
        assert read_steering(folder) is None
        check = evaluate_check("steering", folder, project.settings())
        assert check.verdict == "warn"
        assert check.summary == "not evaluated: the differences disagree"
        shown = project.materializations("steering_evaluation", "refusal")[0].metadata
        assert shown["evaluated"].value == "no: the differences disagree"
        page = (folder.path / "validation/report.html").read_text("utf-8")
        assert "Not evaluated: the differences disagree." in page
        # A better forecast makes it stale, and so does insisting.
        assert project.states("refusal")["steering_evaluation"] == "fresh"
        insists = project.states("refusal", steering={**STEERING, "evaluate": True})
        assert insists["steering_evaluation"] == "stale"
        _forecast(folder, is_hopeless=False)
        assert project.states("refusal")["steering_evaluation"] == "stale"


def test_the_cosine_with_the_refusal_vector_is_a_figure_in_passing(
    steered: SmallProject, tmp_path: Path
) -> None:
    assert _damage(steered.trait("refusal")).refusal_cosine is None
    shutil.copytree(steered.folder, tmp_path / "project")
    with SmallProject(tmp_path / "project") as project:
        project.define("uncertainty", demo_definition("uncertainty"))
        run = project.run("uncertainty", select="+steering_evaluation")
        assert run.is_success, run.problems
        found = _damage(project.trait("uncertainty")).refusal_cosine
        assert found is not None
        assert -1 <= found <= 1
        # Another refusal vector, or none, does not make it stale.
        shutil.rmtree(project.trait("refusal").path / "vectors")
        assert project.states("uncertainty")["steering_evaluation"] == "fresh"


def _damage(folder: TraitFolder) -> Damage:
    evaluation = read_steering(folder)
    assert evaluation is not None
    assert evaluation.damage is not None
    return evaluation.damage


def _forecast(folder: TraitFolder, *, is_hopeless: bool) -> None:
    """Put a forecast into the vectors' manifest, as their stage would have recorded it."""
    path = folder.path / METADATA_FILE["vectors"]
    forecast = {"is_hopeless": is_hopeless, "reason": "the differences disagree"}
    edit_metadata(path, lambda record: record.update(forecast=forecast))


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(
    steered: SmallProject, tmp_path: Path
) -> None:
    class InterruptedError_(Exception):
        pass

    copy_unfinished(tmp_path / "project", steered.folder, "steering_evaluation")
    with SmallProject(tmp_path / "project") as project:
        settings, folder = project.settings(), project.trait("refusal")
        assert project.states("refusal")["vectors"] == "fresh"

        def progress(stage: str, done: int, total: int, note: str = "", **_: object) -> None:
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
