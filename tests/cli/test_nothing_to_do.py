"""`traitvec run` starts a run only if it would change something, on disk or in Dagster."""

import shutil

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject, demo_definition

pytestmark = pytest.mark.slow

RUN = ("run", "--experiment", "demo", "--trait", "refusal")


def runs_of(traitvec: Command, project: SmallProject, *arguments: str) -> int:
    """How many runs Dagster has more after the command, which must succeed."""
    before = project.instance.get_runs_count()
    done = traitvec(*RUN, *arguments)
    assert done.code == 0, done.err
    return project.instance.get_runs_count() - before


def test_a_fresh_trait_needs_no_run(traitvec: Command, finished: SmallProject) -> None:
    assert runs_of(traitvec, finished) == 0
    assert runs_of(traitvec, finished, "--select", "vectors,activations") == 0


def test_a_changed_threshold_needs_one_run(traitvec: Command, finished: SmallProject) -> None:
    finished.set(thresholds={"contrast": 99.0})
    assert runs_of(traitvec, finished) == 1
    assert runs_of(traitvec, finished) == 0


def test_a_changed_severity_is_evaluated_again_though_the_stage_is_fresh(
    traitvec: Command, finished: SmallProject
) -> None:
    finished.set(thresholds={"contrast": 99.0}, severities={"contrast": "warn"})
    assert runs_of(traitvec, finished, "--select", "judged_responses") == 1
    assert runs_of(traitvec, finished, "--select", "judged_responses") == 0
    (run,) = finished.instance.get_runs(limit=1)
    said = {each.check_name: each for each in finished.evaluations(run.run_id)}
    assert not said["contrast"].passed
    assert said["contrast"].severity.value == "WARN"


def test_a_stage_that_dagster_shows_as_stale_is_run_again(
    traitvec: Command, finished: SmallProject
) -> None:
    finished.define("refusal", {**demo_definition(), "description": "Another sentence."})
    assert runs_of(traitvec, finished, "--select", "definition") == 1
    # Responses do not depend on the description, but Dagster's lineage does.
    assert runs_of(traitvec, finished, "--select", "responses") == 1
    assert runs_of(traitvec, finished, "--select", "responses") == 0


def test_results_that_dagster_has_never_seen_are_recorded(
    traitvec: Command, finished: SmallProject, new_instance: str
) -> None:
    finished.instance.dispose()
    shutil.rmtree(finished.folder / ".dagster")
    shutil.copytree(new_instance, finished.folder / ".dagster")
    project = SmallProject(finished.folder)
    done = traitvec(*RUN)
    assert done.code == 0, done.err
    assert "everything is fresh" in done.out
    assert len(project.materializations("vectors", "refusal")) == 1
    assert runs_of(traitvec, project) == 0


@pytest.mark.parametrize("name", ["vectors/mean_diff_layer1.pt", "responses/pos.csv"])
def test_a_damaged_file_is_made_again(traitvec: Command, finished: SmallProject, name: str) -> None:
    path = finished.trait("refusal").path / name
    before = path.read_bytes()
    traitvec("status")
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert runs_of(traitvec, finished) == 1
    assert path.read_bytes() == before
