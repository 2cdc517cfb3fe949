"""Whatever button launches checks: they are right, or one line says why, and verdicts stay."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from tests.graph.webserver import SYNCHRONOUS, dagster_webserver, launch_run
from tests.projects import SMALL, SmallProject, demo_definition
from traitvec_core.stage_names import Stage
from traitvec_core.validation.checks.table import CHECKS, evaluate_check
from traitvec_dagster.graph.resources import set_progress_sink

pytestmark = pytest.mark.services

TRAITS = ["refusal", "uncertainty"]
STATUSES = """query($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks {
      name jobNames canExecuteIndividually
      executionForLatestMaterialization { status }
      partitionStatuses { ... on AssetCheckDefaultPartitionStatuses {
        succeededPartitions failedPartitions inProgressPartitions skippedPartitions
        executionFailedPartitions
      } }
    } } }
  } }
}"""
REEXECUTE = """mutation($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}"""


class ChecksPage:
    """The Checks page of an asset, as a browser sees and uses it."""

    def __init__(self, client: httpx.Client, project: SmallProject) -> None:
        self._client = client
        self.project = project

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        return dict(answer.json()["data"])

    def checks(self, stage: Stage) -> list[dict[str, Any]]:
        answer = self.ask(STATUSES, key={"path": ["demo", stage]})
        return list(answer["assetNodeOrError"]["assetChecksOrError"]["checks"])

    def verdicts(self, stage: Stage) -> dict[str, dict[str, list[str]]]:
        """The traits by status, for each check."""
        return {
            check["name"]: {name: sorted(traits) for name, traits in rows.items() if traits}
            for check in self.checks(stage)
            if (rows := check["partitionStatuses"])
        }

    def execute(self, stage: Stage, trait: str | None = None, only: str = "") -> dg.DagsterRun:
        """Press "Execute all", or "Execute" of one check."""
        checks = [check for check in self.checks(stage) if check["name"].startswith(only)]
        assert {check["canExecuteIndividually"] for check in checks} == {"CAN_EXECUTE"}
        run_id = launch_run(
            self._client,
            checks[0]["jobNames"][0],
            {"dagster/partition": trait} if trait else {},
            assets=[],
            checks=[(["demo", stage], check["name"]) for check in checks],
        )
        return self._run(run_id)

    def materialize(self, trait: str, **settings: Any) -> dg.DagsterRun:
        config = {"resources": {"overrides": {"config": {"settings": settings}}}}
        run_id = launch_run(
            self._client, "demo_traits", {"dagster/partition": trait}, run_config=config
        )
        return self._run(run_id)

    def reexecute(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """Press "Re-execute from failure"."""
        answer = self.ask(REEXECUTE, params={"parentRunId": run.run_id, "strategy": "FROM_FAILURE"})
        return self._run(answer["launchRunReexecution"]["run"]["runId"])

    def _run(self, run_id: str | None) -> dg.DagsterRun:
        run = self.project.instance.get_run_by_id(run_id) if run_id else None
        assert run is not None
        return run

    def problems(self, run: dg.DagsterRun) -> list[str]:
        """What the steps that failed say; one that shows Dagster's frames counts as a crash."""
        lines = []
        for entry in self.project.instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE):
            assert entry.dagster_event is not None
            data = entry.dagster_event.step_failure_data
            assert data.error is not None
            if data.user_failure_data is None or len(data.error.stack) > 1:
                lines.append(f"{entry.step_key} crashed: {data.error}")
            else:
                lines.append(str(data.user_failure_data.description))
        return lines


@pytest.fixture(scope="module")
def served(
    finished_folder: Path, tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[tuple[Path, httpx.Client]]:
    """A folder that contains a finished project, and a client of the UI over it."""
    folder = tmp_path_factory.mktemp("buttons") / "project"
    shutil.copytree(finished_folder, folder)
    with SmallProject(folder) as project:
        project.project.enter()
        _serve_synchronously(folder)
        with dagster_webserver(folder, folder.with_name("webserver.log")) as client:
            yield folder, client


@pytest.fixture
def page(finished_folder: Path, served: tuple[Path, httpx.Client]) -> Iterator[ChecksPage]:
    """The UI over a finished project, as new for each test: the server keeps no file open."""
    folder, client = served
    # Not the folder itself, in which the server works.
    for path in folder.iterdir():
        shutil.rmtree(path)
    shutil.copytree(finished_folder, folder, dirs_exist_ok=True)
    _serve_synchronously(folder)
    with SmallProject(folder) as project:
        yield ChecksPage(client, project)


def _serve_synchronously(folder: Path) -> None:
    (folder / ".dagster" / "dagster.yaml").write_text(SYNCHRONOUS)


def test_execute_all_evaluates_every_trait(page: ChecksPage) -> None:
    for stage in ("vectors", "judged_responses"):
        before = page.verdicts(stage)
        run = page.execute(stage)
        assert page.problems(run) == []
        assert run.status == dg.DagsterRunStatus.SUCCESS
        found = page.project.evaluations(run.run_id)
        named = set(before)
        assert {(each.check_name, each.partition) for each in found} == {
            (check, trait) for check in named for trait in (*TRAITS, None)
        }
        for each in found:
            if each.partition is not None:
                says = evaluate_check(
                    each.check_name, page.project.trait(each.partition), page.project.settings()
                )
                assert (each.passed, each.description) == (says.verdict == "pass", says.summary)
                assert each.target_materialization_data is not None
        assert page.verdicts(stage) == before


def test_execute_all_with_a_broken_trait_is_one_line_and_the_others_stay(page: ChecksPage) -> None:
    page.project.define("broken", {"questions": []})
    page.project.instance.add_dynamic_partitions("traits/demo", ["broken", "no_file"])
    run = page.execute("definition")
    assert page.problems(run) == ["definition: 2 of 3 traits pass; fails: broken"]
    assert page.verdicts("definition")["definition"] == {
        "succeededPartitions": TRAITS, "failedPartitions": ["broken"],
    }  # fmt: skip
    # It has no vectors, so there is nothing to say about them.
    run = page.execute("vectors")
    assert page.problems(run) == []
    assert all(
        traits == ["refusal", "uncertainty"] or set(traits) <= set(TRAITS)
        for rows in page.verdicts("vectors").values()
        for traits in rows.values()
    )


def test_a_check_of_one_trait_alone(page: ChecksPage) -> None:
    before = page.verdicts("vectors")
    run = page.execute("vectors", "refusal", only="norm")
    assert run.status == dg.DagsterRunStatus.SUCCESS
    (found,) = page.project.evaluations(run.run_id)
    assert (found.check_name, found.partition) == ("norm", "refusal")
    assert page.verdicts("vectors") == before


def test_a_run_that_cannot_start_leaves_all_verdicts(page: ChecksPage) -> None:
    stages = sorted({check.stage for check in CHECKS.values()} - {"steering_evaluation"})
    before = {stage: page.verdicts(stage) for stage in stages}
    page.project.set(max_judge_usd=2)
    run = page.materialize("refusal", max_judge_usd=3)
    assert run.status == dg.DagsterRunStatus.FAILURE
    (line,) = page.problems(run)
    assert "max_judge_usd: 3.0 is above the 2 of experiment.yaml" in line
    assert {stage: page.verdicts(stage) for stage in stages} == before
    again = page.reexecute(run)
    assert again.status == dg.DagsterRunStatus.FAILURE
    assert len(page.problems(again)) == 1
    assert {stage: page.verdicts(stage) for stage in stages} == before
    for each in page.project.evaluations(again.run_id):
        assert "kept_from_run" in each.metadata or each.check_name == "definition"


def test_a_definition_that_breaks_leaves_the_other_verdicts(page: ChecksPage) -> None:
    stages = ("judged_responses", "activations", "vectors")
    before = {stage: page.verdicts(stage) for stage in stages}
    page.project.trait("refusal").definition_path.write_text("no JSON")
    run = page.materialize("refusal")
    (line,) = page.problems(run)
    assert line.startswith("definition: ")
    assert "is not valid JSON" in line
    assert page.verdicts("definition")["definition"]["failedPartitions"] == ["refusal"]
    assert {stage: page.verdicts(stage) for stage in stages} == before
    page.project.trait("refusal").definition_path.write_text(json.dumps(demo_definition()))
    assert page.materialize("refusal").status == dg.DagsterRunStatus.SUCCESS
    assert page.verdicts("definition")["definition"] == {"succeededPartitions": TRAITS}


def test_without_settings_execute_all_is_one_line_and_verdicts_stay(page: ChecksPage) -> None:
    before = page.verdicts("vectors")
    shown = [check["executionForLatestMaterialization"] for check in page.checks("vectors")]
    path = page.project.graph().folder.settings_path
    path.write_text(path.read_text() + "no_such_setting: 3\n")
    run = page.execute("vectors")
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert all("no_such_setting: no such setting" in line for line in page.problems(run))
    assert page.verdicts("vectors") == before
    assert [c["executionForLatestMaterialization"] for c in page.checks("vectors")] == shown


def test_a_partition_deleted_at_work_is_one_line(finished: SmallProject) -> None:
    instance = finished.instance

    class Deleting:
        def __call__(
            self, stage: Stage, done: int, total: int, note: str = "", **_: object
        ) -> None:
            instance.delete_dynamic_partition("traits/demo", "refusal")

        def say(self, text: str) -> None:
            pass

    set_progress_sink(Deleting())
    try:
        done = finished.run("refusal", redo=["vectors"])
    finally:
        set_progress_sink(None)
    assert instance.get_dynamic_partitions("traits/demo") == ["uncertainty"]
    (line,) = done.problems
    assert line.startswith("the partition 'refusal' was deleted while this run was at work")
    assert set(finished.states("refusal").values()) == {"fresh"}
    # Added again, it has its history.
    assert finished.run("refusal").is_good


# -- warnings that the owner accepts ----------------------------------------------------------

REASON = "the judge is strict"


def test_an_accepted_warning_passes_and_stays_visible(finished: SmallProject) -> None:
    warns = {"contrast": 100, "contrast_warning": 0}
    finished.set(thresholds={**SMALL["thresholds"], **warns})
    assert finished.run("refusal").verdicts["contrast"] == "warn"
    assert finished.run("uncertainty").verdicts["contrast"] == "warn"
    finished.set(accepted={"refusal": {"contrast": REASON}})
    # Only the report of the trait that accepts it is made again.
    assert finished.states("uncertainty")["validation_report"] == "fresh"
    done = finished.run("refusal")
    assert list(done.made) == ["validation_report"]
    assert done.verdicts["contrast"] == "pass"
    (found,) = [e for e in finished.evaluations(done.run_id) if e.check_name == "contrast"]
    assert found.passed
    assert found.metadata["accepted"].value == REASON
    assert str(found.description).startswith(f"accepted ({REASON}): contrast ")
    folder = finished.trait("refusal")
    chosen = folder.recommended()
    assert chosen is not None
    assert any(f"contrast: accepted ({REASON})" in reason for reason in chosen.reasons)
    page = (folder.path / "validation" / "report.html").read_text()
    assert f"accepted ({REASON})" in page
    assert finished.run("uncertainty").verdicts["contrast"] == "warn"


def test_a_failure_is_never_accepted(finished: SmallProject) -> None:
    fails = {"contrast": 100, "contrast_warning": 100}
    finished.set(
        thresholds={**SMALL["thresholds"], **fails}, accepted={"refusal": {"contrast": REASON}}
    )
    assert finished.run("refusal").verdicts["contrast"] == "fail"
    # Nor by way of a warning.
    finished.set(severities={"contrast": "warn"})
    assert finished.run("refusal").verdicts["contrast"] == "warn"
