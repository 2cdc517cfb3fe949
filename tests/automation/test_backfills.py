"""Backfills under `traitvec ui`, launched as its pages do: several traits, and the atlas."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from tests.automation.ui_process import traitvec_ui, wait_for
from tests.ports import free_port
from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment
from traitvec_core.stage_names import STAGES
from traitvec_dagster.graph.failures import PROBLEM_TAG
from traitvec_dagster.runs.gpu_lease import holder_of, seats

pytestmark = pytest.mark.services

LAUNCH = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""
BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill {
    status error { message }
    assetBackfillData { assetBackfillStatuses {
      ... on AssetPartitionsStatusCounts {
        assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed
      }
      ... on UnpartitionedAssetStatus { assetKey { path } materialized failed }
    } }
    runs(limit: 100) { id status tags { key value } }
  }
} }"""
CANCEL = """mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"""
REEXECUTE = """mutation($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}"""
CHECKS = """{ assetNodes(assetKeys: [{path: ["demo", "judged_responses"]}]) {
  assetChecksOrError { ... on AssetChecks { checks { name
    partitionStatuses { ... on AssetCheckDefaultPartitionStatuses {
      succeededPartitions failedPartitions inProgressPartitions executionFailedPartitions
    } }
  } } }
} }"""
ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED"}


class Backfills:
    """The pages of backfills, by what they ask."""

    def __init__(self, client: httpx.Client, project: SmallProject) -> None:
        self._client = client
        self.project = project

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        return answer.json()["data"]

    def launch(self, traits: list[str], *, with_atlas: bool) -> str:
        """Choose assets in the lineage, press "Materialize all", and choose partitions."""
        names = [*STAGES, *(["trait_atlas"] if with_atlas else [])]
        params = {
            "assetSelection": [{"path": ["demo", name]} for name in names],
            "partitionNames": traits, "tags": [],
        }  # fmt: skip
        launched = self.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        return str(launched["backfillId"])

    def show(self, backfill: str) -> Any:
        return self.ask(BACKFILL, id=backfill)["partitionBackfillOrError"]

    def ended(self, backfill: str) -> Any:
        """Wait for its end; its page."""
        wait_for(lambda: self.show(backfill)["status"] in ENDED, 900)
        return self.show(backfill)

    def runs(self, page: Any) -> dict[str, tuple[str, str, dict[str, str]]]:
        """Id, status and tags of each trait's run."""
        found = {}
        for run in page["runs"]:
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            assert tags["dagster/partition"] not in found, "one run per trait"
            found[tags["dagster/partition"]] = run["id"], run["status"], tags
        return found


@pytest.fixture
def backfills(
    tmp_path: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backfills]:
    """`traitvec ui` on a machine with two GPUs that are not there; nothing runs by itself."""
    # Where the leases are, here as in the processes of the UI.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    os.environ["TRAITVEC_GPUS"] = "left right"
    write_experiment(tmp_path, "demo", ["refusal", "uncertainty"], FEW_VECTORS)
    port = free_port()
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=240) as client,
        traitvec_ui(tmp_path, port) as project,
    ):
        project.define("broken", {**demo_definition(), "questions": []})
        definition = demo_definition()
        pairs = [{"pos": pair["neg"], "neg": pair["pos"]} for pair in definition["instruction"]]
        project.define("reversed", {**definition, "instruction": pairs})
        traits = {"refusal", "uncertainty", "broken", "reversed"}
        wait_for(lambda: set(project.instance.get_dynamic_partitions("traits/demo")) == traits)
        wait_for(lambda: _is_up(client))
        yield Backfills(client, project)


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/server_info").is_success
    except httpx.TransportError:
        return False


def test_backfills(backfills: Backfills) -> None:
    project, instance = backfills.project, backfills.project.instance

    # Added by hand, without a definition, and chosen before the sensor has looked.
    instance.add_dynamic_partitions("traits/demo", ["nothing"])
    traits = ["refusal", "uncertainty", "broken", "reversed", "nothing"]
    page = backfills.ended(backfills.launch(traits, with_atlas=True))
    assert (page["status"], page["error"]) == ("COMPLETED_FAILED", None)
    runs = backfills.runs(page)
    statuses = {trait: status for trait, (_, status, _) in runs.items()}
    assert statuses == {
        "refusal": "SUCCESS", "uncertainty": "SUCCESS",
        "broken": "FAILURE", "reversed": "FAILURE", "nothing": "FAILURE",
    }  # fmt: skip
    # Its list of runs says which failed, and why.
    for _, _, tags in runs.values():
        assert tags["traitvec/experiment"] == "demo"
        assert not {name for name in tags if "pid" in name or "host" in name}
    problems = {trait: tags.get(PROBLEM_TAG) for trait, (_, _, tags) in runs.items()}
    assert problems["refusal"] is problems["uncertainty"] is None
    assert str(problems["broken"]).startswith("definition: ")
    assert "questions" in str(problems["broken"])
    assert str(problems["reversed"]).startswith("coverage: too few responses are left")
    assert "is missing" in str(problems["nothing"])
    assert all("\n" not in str(problem) for problem in problems.values())

    # The atlas, which Dagster leaves out when a trait fails, follows; the name without one goes.
    atlas = dg.AssetKey(["demo", "trait_atlas"])
    assert page["assetBackfillData"]["assetBackfillStatuses"][-1] == {
        "assetKey": {"path": ["demo", "trait_atlas"]}, "materialized": False, "failed": True,
    }  # fmt: skip
    made = wait_for(lambda: instance.get_latest_materialization_event(atlas))
    assert made.asset_materialization.metadata["compared"].value == 2
    wait_for(lambda: "nothing" not in instance.get_dynamic_partitions("traits/demo"))

    # The broken one is fixed and its run re-executed; it does not keep the old problem.
    project.define("broken", demo_definition())
    params = {"parentRunId": runs["broken"][0], "strategy": "FROM_FAILURE"}
    again = backfills.ask(REEXECUTE, params=params)["launchRunReexecution"]["run"]["runId"]
    done = wait_for(lambda: _ended(instance, again), 600)
    assert done.status == dg.DagsterRunStatus.SUCCESS
    assert done.tags[PROBLEM_TAG] == "none"
    assert set(project.states("broken").values()) == {"fresh"}

    # Cancelled in the middle: finished work and verdicts stay, and the GPUs are free.
    before = backfills.ask(CHECKS)
    # So many responses that no run gets past them: new ones would have no verdict yet.
    project.set(n_examples=400, sampling={"max_new_tokens": 48}, batch_size=4)
    traits = ["refusal", "uncertainty", "broken"]
    backfill = backfills.launch(traits, with_atlas=False)
    wait_for(lambda: sum(holder_of(seat) is not None for seat in seats()) == 2, 600)
    backfills.ask(CANCEL, id=backfill)
    page = backfills.ended(backfill)
    assert (page["status"], page["error"]) == ("CANCELED", None)
    assert {status for _, status, _ in backfills.runs(page).values()} <= {"CANCELED", "SUCCESS"}
    assert wait_for(lambda: all(holder_of(seat) is None for seat in seats()))
    wait_for(lambda: backfills.ask(CHECKS) == before)
    for trait in traits:
        assert project.trait(trait).recommended() is not None
    assert instance.get_latest_materialization_event(atlas).timestamp == made.timestamp


def _ended(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    run = instance.get_run_by_id(run_id)
    return run if run is not None and run.is_finished else None
