"""A run by the executor `k8s`, from the Helm values to its steps; their pods are processes."""

import json
import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from tests.graph.webserver import dagster_webserver, launch_run
from tests.projects import SmallProject
from tests.scaling.cluster import LocalCluster, container_of
from tests.scaling.helm import CODE_LOCATIONS, container_context, instance_settings, read_values

pytestmark = pytest.mark.services
pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed")

IMAGE = "registry.example/traitvec:1"
LIMIT_S = 420


def test_a_run_of_pods_goes_on_after_one_is_killed(
    empty: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = read_values()
    (location,) = values["dagster-user-deployments"]["deployments"]
    environment = {
        **location["env"],
        "TRAITVEC_EXPERIMENTS": str(empty.project.experiments),
    }
    with LocalCluster(
        folder=tmp_path,
        secrets={
            "traitvec-keys": {"OPENAI_API_KEY": "sk-test"},
            "dagster-postgresql-secret": {"postgresql-password": "unused"},
        },
        config_maps={f"{CODE_LOCATIONS}-traitvec-user-env": environment},
        lose="demo__responses",
    ) as cluster:
        _write_instance(empty, instance_settings(values), cluster.kubeconfig)
        # The code location is a process of this one's, as in the chart's pod.
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(
            "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT", json.dumps(container_context(values))
        )
        monkeypatch.setenv("DAGSTER_CLI_API_GRPC_CONTAINER_IMAGE", IMAGE)
        run_id = _launch(empty, tmp_path / "webserver.log")
        run = _wait(empty, run_id)
        assert run.status == dg.DagsterRunStatus.SUCCESS, cluster.output()

    steps: dict[str, list[dict[str, Any]]] = {}
    for name, job in cluster.jobs.items():
        if name.startswith("dagster-step-"):
            environment = {v["name"]: v.get("value") for v in container_of(job)["env"]}
            steps.setdefault(environment["DAGSTER_RUN_STEP_KEY"], []).append(container_of(job))
    # The lost one a second time, under another name.
    assert {key: len(pods) for key, pods in steps.items()} == {
        "demo__definition": 1,
        "demo__responses": 2,
    }
    retried = empty.instance.all_logs(run_id, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert [entry.step_key for entry in retried] == ["demo__responses"]
    (run_pod,) = [job for name, job in cluster.jobs.items() if name.startswith("dagster-run-")]
    # Only what runs a model has a GPU: neither the definition nor the pod that starts the steps.
    for pod in (container_of(run_pod), *steps["demo__definition"]):
        assert "limits" not in pod["resources"]
    for pod in steps["demo__responses"]:
        assert pod["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    for pod in (container_of(run_pod), *steps["demo__definition"], *steps["demo__responses"]):
        assert pod["image"] == IMAGE
        assert {"secretRef": {"name": "traitvec-keys"}} in pod["envFrom"]
    assert [empty.states("refusal")[s] for s in ("definition", "responses")] == ["fresh", "fresh"]


def _write_instance(project: SmallProject, settings: dict[str, Any], kubeconfig: Path) -> None:
    """The instance of the Helm values, on this machine's files instead of Postgres."""
    del settings["storage"]
    settings["run_launcher"]["config"] |= {
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "dagster_home": str(project.project.dagster_home),
    }
    # There is no daemon here that would empty a queue.
    settings["run_coordinator"] = {
        "module": "dagster.core.run_coordinator",
        "class": "DefaultRunCoordinator",
    }
    (project.project.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    # Its owner's, as in the image; a project may not bring one that names classes.
    os.environ["DAGSTER_HOME"] = str(project.project.dagster_home)


def _launch(project: SmallProject, log: Path) -> str:
    """Launch the first two stages of a trait from the UI's webserver; returns the run's id."""
    graph = project.graph()
    project.instance.add_dynamic_partitions("traits/demo", ["refusal"])
    stages = [graph.key(stage).path for stage in ("definition", "responses")]
    with dagster_webserver(project.folder, log) as client:
        run_id = launch_run(client, graph.job, {"dagster/partition": "refusal"}, stages)
    assert run_id is not None
    return run_id


def _wait(project: SmallProject, run_id: str) -> dg.DagsterRun:
    """Wait for the end of a run, or for the limit."""
    limit = time.monotonic() + LIMIT_S
    while True:
        run = project.instance.get_run_by_id(run_id)
        assert run is not None
        if run.is_finished or time.monotonic() > limit:
            return run
        time.sleep(1)
