"""A run by the executor `k8s`, from the Helm values to its steps; their pods are processes."""

import json
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._cli.workspace.cli_target import get_workspace_from_cli_opts
from dagster._core.definitions.selector import JobSubsetSelector
from dagster_shared.cli import WorkspaceOpts

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
        run_id = _launch(empty)
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
        "module": "dagster._core.run_coordinator",
        "class": "DefaultRunCoordinator",
    }
    (project.project.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(settings))


def _launch(project: SmallProject) -> str:
    """Launch the first two stages of a trait, as the UI does."""
    instance, graph = project.instance, project.graph()
    instance.add_dynamic_partitions("traits/demo", ["refusal"])
    options = WorkspaceOpts(module_name=("traitvec_dagster.definitions",))
    with get_workspace_from_cli_opts(instance, dg.__version__, options) as workspace:
        (location,) = workspace.code_locations
        (repository,) = location.get_repositories().values()
        stages = {graph.key("definition"), graph.key("responses")}
        job = location.get_job(
            JobSubsetSelector(
                location_name=location.name,
                repository_name=repository.name,
                job_name=graph.job,
                op_selection=None,
                asset_selection=stages,
                asset_check_selection=set(),
            )
        )
        plan = location.get_execution_plan(job, {}, None, None, instance)
        run = instance.create_run(
            job_name=job.name,
            run_id=None,
            run_config={},
            resolved_op_selection=None,
            step_keys_to_execute=plan.execution_plan_snapshot.step_keys_to_execute,
            op_selection=None,
            status=None,
            root_run_id=None,
            parent_run_id=None,
            tags={"dagster/partition": "refusal"},
            job_snapshot=job.job_snapshot,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_selection=frozenset(stages),
            asset_check_selection=frozenset(),
            asset_graph=repository.asset_graph,
        )
        instance.submit_run(run.run_id, workspace)
        return run.run_id


def _wait(project: SmallProject, run_id: str) -> dg.DagsterRun:
    """Wait for the end of a run, or for the limit."""
    limit = time.monotonic() + LIMIT_S
    while True:
        run = project.instance.get_run_by_id(run_id)
        assert run is not None
        if run.is_finished or time.monotonic() > limit:
            return run
        time.sleep(1)
