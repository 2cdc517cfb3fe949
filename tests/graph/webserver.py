"""Dagster's webserver over a project, and a client that sends what its pages send."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.projects import REPOSITORY, SmallProject
from traitvec_dagster.project import LOCATION_NAME

LOCATION = {
    "repositoryName": "__repository__",
    "repositoryLocationName": LOCATION_NAME,
}
LAUNCH = """mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) { ... on LaunchRunSuccess { run { runId } } }
}"""
# An instance's settings under which a run is executed when it is launched, in the webserver.
SYNCHRONOUS = """
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
run_launcher:
  module: dagster.core.launcher.sync_in_memory_run_launcher
  class: SyncInMemoryRunLauncher
concurrency: {pools: {default_limit: 4, granularity: run}}
"""
_PATIENCE_S = 240


@contextmanager
def dagster_webserver(folder: Path, log: Path) -> Iterator[httpx.Client]:
    """Serve the project that the environment names; yields a client of its GraphQL API.

    Raises:
        AssertionError: If the server does not start.
    """
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("dagster-webserver")),
        "-w", str(REPOSITORY / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port),
    ]  # fmt: skip
    with (
        log.open("w") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S) as client,
    ):
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not _is_up(client):
                is_waiting = process.poll() is None and time.monotonic() < deadline
                assert is_waiting, f"the webserver does not start:\n{log.read_text()[-2000:]}"
                time.sleep(0.1)
            yield client
        finally:
            process.terminate()
            process.wait(timeout=_PATIENCE_S)


def launch_run(
    client: httpx.Client,
    job: str,
    tags: Mapping[str, str],
    assets: Sequence[Sequence[str]] | None = None,
    run_config: Mapping[str, Any] | None = None,
    checks: Sequence[tuple[Sequence[str], str]] = (),
) -> str | None:
    """Launch a run of a job, or of some of its assets and checks, as the buttons do.

    Returns its id, or None if refused.
    """
    variables = launch_variables(job, tags, assets, run_config, checks)
    answer = client.post("/graphql", json={"query": LAUNCH, "variables": variables}).json()
    # An error of GraphQL has no data, and a refused run has no id.
    launched = (answer.get("data") or {}).get("launchRun") or {}
    return launched["run"]["runId"] if "run" in launched else None


def launch_variables(
    job: str,
    tags: Mapping[str, str],
    assets: Sequence[Sequence[str]] | None = None,
    run_config: Mapping[str, Any] | None = None,
    checks: Sequence[tuple[Sequence[str], str]] = (),
) -> dict[str, Any]:
    """Return the variables of `LAUNCH`."""
    selection = (
        {
            "assetSelection": [{"path": list(path)} for path in assets],
            "assetCheckSelection": [
                {"assetKey": {"path": list(path)}, "name": name} for path, name in checks
            ],
        }
        if assets is not None
        else {}
    )
    return {
        "params": {
            "selector": {**LOCATION, "jobName": job, **selection},
            "runConfigData": json.dumps(run_config or {}),
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
    }


def run_ids(project: SmallProject) -> set[str]:
    """Return the ids of all runs there are."""
    return {run.run_id for run in project.instance.get_runs()}


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/server_info").is_success
    except httpx.TransportError:
        return False
