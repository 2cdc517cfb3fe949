"""Runs of `traitvec run` as the pages of the UI see them, ended from there and killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from tests.graph.webserver import LOCATION, dagster_webserver
from tests.projects import REPOSITORY, SmallProject
from traitvec_dagster.automation.ended_runs import settle_run
from traitvec_dagster.graph.failures import PROBLEM_TAG
from traitvec_dagster.runs.ownership import close_dead_runs

pytestmark = pytest.mark.services

# What the timeline asks for. It draws no run without a repository, and joins by job and location.
TIMELINE = """query($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 100) {
  ... on Runs { results {
    id pipelineName status startTime endTime tags { key value }
    repositoryOrigin { repositoryName repositoryLocationName }
  } }
} }"""
JOB = """query($job: PipelineSelector!) { pipelineOrError(params: $job) {
  ... on Pipeline { name isJob runs { id } }
} }"""
MATERIALIZED = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 1) { runOrError { ... on Run {
    id status pipelineName repositoryOrigin { repositoryLocationName }
  } } }
} } }"""
STATUSES = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status }
    partitionStatuses { ... on AssetCheckDefaultPartitionStatuses {
      succeededPartitions failedPartitions inProgressPartitions skippedPartitions
      executionFailedPartitions
    } }
  } } }
} } }"""
PARTITIONS = """{ assetNodes(assetKeys: [
  {path: ["demo", "definition"]}, {path: ["demo", "vectors"]}
]) {
  partitionStats { numFailed numPartitions }
} }"""
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) { __typename } }"""
STAGES_WITH_CHECKS = ("definition", "judged_responses", "activations", "vectors")


class Pages:
    """The pages of the UI, by what they ask."""

    def __init__(self, client: httpx.Client, project: SmallProject) -> None:
        self._client = client
        self.project = project

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        return answer.json()["data"]

    def timeline(self) -> dict[str, Any]:
        """The runs that the timeline draws, by id."""
        runs = self.ask(TIMELINE, filter={"statuses": ["SUCCESS", "FAILURE", "CANCELED"]})
        return {run["id"]: run for run in runs["runsOrError"]["results"] if run["repositoryOrigin"]}

    def verdicts(self) -> dict[str, Any]:
        """The traits by status for each check, and the checks that a node shows as crashed."""
        verdicts: dict[str, Any] = {"crashed": []}
        for stage in STAGES_WITH_CHECKS:
            answer = self.ask(STATUSES, key={"path": ["demo", stage]})
            for check in answer["assetNodeOrError"]["assetChecksOrError"]["checks"]:
                verdicts[check["name"]] = check["partitionStatuses"]
                if check["executionForLatestMaterialization"]["status"] == "EXECUTION_FAILED":
                    verdicts["crashed"].append(check["name"])
        return verdicts


@pytest.fixture
def pages(finished_folder: Path, tmp_path: Path, own_environment: None) -> Iterator[Pages]:
    """The UI, without a daemon, over a finished project that `traitvec run` has made."""
    folder = tmp_path / "project"
    shutil.copytree(finished_folder, folder)
    with SmallProject(folder) as project:
        project.project.enter()
        with dagster_webserver(folder, tmp_path / "webserver.log") as client:
            yield Pages(client, project)


@contextmanager
def at_work(project: SmallProject) -> Iterator[tuple[subprocess.Popen[str], dg.DagsterRun]]:
    """A process that is as `traitvec run` in the middle of its responses, and its run."""
    project.set(n_examples=6)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.runs.waiting_run", str(project.folder),
         "command"],
        cwd=REPOSITORY, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process, project.instance.get_runs(limit=1)[0]
    finally:
        process.kill()
        process.wait()


def test_runs_of_the_command_line_stand_under_their_job(pages: Pages) -> None:
    runs = pages.project.instance.get_runs()
    assert len(runs) == 2
    drawn = pages.timeline()
    assert set(drawn) == {run.run_id for run in runs}
    for run in drawn.values():
        assert (run["pipelineName"], run["status"]) == ("demo_traits", "SUCCESS")
        assert run["repositoryOrigin"] == LOCATION
        assert run["startTime"] < run["endTime"]
        # Who executes it is in its tags, too, but nobody has to read that.
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["traitvec/experiment"] == "demo"
        assert tags["dagster/partition"] in {"refusal", "uncertainty"}
        assert not any("pid" in name or "host" in name for name in tags)
    # The link to the job leads to a job, whose page lists them.
    job = pages.ask(JOB, job={**LOCATION, "pipelineName": "demo_traits"})["pipelineOrError"]
    assert job["isJob"]
    assert {run["id"] for run in job["runs"]} == set(drawn)
    answer = pages.ask(MATERIALIZED, key={"path": ["demo", "vectors"]})
    (made,) = answer["assetOrError"]["assetMaterializations"]
    assert made["runOrError"]["id"] in drawn
    assert made["runOrError"]["pipelineName"] == "demo_traits"


def test_terminate_ends_a_run_of_the_command_line(pages: Pages) -> None:
    before = pages.verdicts()
    with at_work(pages.project) as (process, run):
        pages.ask(TERMINATE, id=run.run_id)
        # The process itself ends it, and not the monitor, which waits for minutes.
        assert process.wait(240) == 0
        assert process.stdout is not None
        assert process.stdout.readline() == "failed\n"
    assert pages.timeline()[run.run_id]["status"] == "CANCELED"
    assert pages.verdicts() == before
    assert pages.project.run("refusal").is_good


def test_a_killed_run_leaves_the_verdicts_as_they_were(pages: Pages) -> None:
    before, instance = pages.verdicts(), pages.project.instance
    with at_work(pages.project) as (process, run):
        process.send_signal(signal.SIGKILL)
    assert close_dead_runs(instance) == [run.run_id]
    assert pages.verdicts() != before
    for _ in range(2):
        killed = instance.get_run_by_id(run.run_id)
        assert killed is not None
        settle_run(instance, killed, "its process is gone")
        assert pages.verdicts() == before
    assert killed.tags[PROBLEM_TAG] == "its process is gone"


def test_a_partition_without_a_trait_leaves_no_stage_red(pages: Pages) -> None:
    before, instance = pages.verdicts(), pages.project.instance
    instance.add_dynamic_partitions("traits/demo", ["nothing"])
    done = pages.project.run_job("demo_traits", "nothing")
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert str(data.description).startswith("demo has no trait 'nothing', so this partition was")
    assert set(instance.get_dynamic_partitions("traits/demo")) == {"refusal", "uncertainty"}
    assert pages.verdicts() == before
    for node in pages.ask(PARTITIONS)["assetNodes"]:
        assert node["partitionStats"]["numFailed"] == 0
        assert node["partitionStats"]["numPartitions"] == 2
