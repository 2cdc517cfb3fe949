"""One code location, however it is started: switches and cursors survive another command."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import clean_environment
from tests.ports import free_port
from tests.projects import REPOSITORY, SmallProject, write_experiment
from traitvec_dagster.project import LOCATION_MODULE, LOCATION_NAME

_PATIENCE_S = 240
_SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION_NAME}
_STATE = """{
  repositoriesOrError { ... on RepositoryConnection { nodes {
    name location { name }
    schedules { name scheduleState { status } }
    sensors { name sensorState {
      status typeSpecificData { ... on SensorData { lastCursor } } } }
  } } }
  workspaceOrError { ... on Workspace { locationEntries { loadStatus } } }
}"""
_START_SCHEDULE = """mutation($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) { __typename }
}"""
_STOP_SENSOR = """mutation($id: String!) { stopSensor(id: $id) { __typename } }"""
_SET_CURSOR = """mutation($selector: SensorSelector!, $cursor: String) {
  setSensorCursor(sensorSelector: $selector, cursor: $cursor) { __typename }
}"""
_SENSOR_ID = """query($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { id } }
}"""


def test_every_file_names_the_location() -> None:
    (workspace,) = _read_yaml("workspace.yaml")["load_from"]
    (compose,) = _read_yaml("deploy/workspace.yaml")["load_from"]
    (helm,) = _read_yaml("deploy/helm-values.yaml")["dagster-user-deployments"]["deployments"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert workspace["python_module"] == {
        "module_name": LOCATION_MODULE, "location_name": LOCATION_NAME,
    }  # fmt: skip
    assert project["code_location_target_module"] == LOCATION_MODULE
    assert project["code_location_name"] == LOCATION_NAME
    assert compose["grpc_server"]["location_name"] == LOCATION_NAME
    # The chart names the location like the deployment.
    assert helm["name"] == LOCATION_NAME


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallProject]:
    """A project whose schedule was switched on, and its sensor off, under `traitvec ui`."""
    folder = tmp_path_factory.mktemp("switched")
    with clean_environment():
        # It must not fire meanwhile.
        write_experiment(folder, "demo", [], {"schedule": {"cron": "0 3 29 2 *", "enabled": False}})
        with SmallProject(folder) as project:
            project.instance.get_runs_count()
            ui = [sys.executable, "-c", "from traitvec_dagster.cli.main import main; main()", "ui"]
            with _started(ui, folder, folder / "ui.log") as client:
                _wait_for_a_tick(client)
                _switch(client)
            yield project


@pytest.mark.services
@pytest.mark.parametrize(
    "command",
    [
        ["dagster", "dev", "-w", "workspace.yaml"],
        ["dagster", "dev"],
        ["dg", "dev"],
        ["dagster-webserver", "-w", "workspace.yaml"],
        ["python", "-m", "traitvec_dagster.ui.webserver", "-w", "workspace.yaml"],
    ],
    ids=" ".join,
)
def test_switches_and_cursors_are_those_of_traitvec_ui(
    switched: SmallProject, command: list[str], tmp_path: Path
) -> None:
    program = str(Path(sys.executable).with_name(command[0]))
    with _started([program, *command[1:]], REPOSITORY, tmp_path / "log") as client:
        repository = _repository(client)
    assert (repository["location"]["name"], repository["name"]) == (LOCATION_NAME, "__repository__")
    schedules = {one["name"]: one["scheduleState"]["status"] for one in repository["schedules"]}
    assert schedules == {"demo_rerun": "RUNNING"}
    assert _sensor(repository) == {
        "status": "STOPPED", "typeSpecificData": {"lastCursor": "set in traitvec ui"},
    }  # fmt: skip


def _wait_for_a_tick(client: httpx.Client) -> None:
    """Wait for the sensor's first tick to end.

    Dagster's daemon writes the sensor's state at both ends of a tick. A switch between its reading
    and its writing is lost, or refused as the second row of the same sensor.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while _sensor(_repository(client))["typeSpecificData"]["lastCursor"] is None:
        assert time.monotonic() < deadline, "the sensor does not tick"
        time.sleep(0.2)


def _switch(client: httpx.Client) -> None:
    """Switch the schedule on and the sensor off, as the pages do, and set the sensor's cursor."""
    sensor = {"selector": {**_SELECTOR, "sensorName": "demo_definitions"}}
    schedule = {"selector": {**_SELECTOR, "scheduleName": "demo_rerun"}}
    sensor_id = _ask(client, _SENSOR_ID, sensor)["sensorOrError"]
    # Off first, so that no tick writes another cursor.
    answers = [
        _ask(client, _START_SCHEDULE, schedule)["startSchedule"],
        _ask(client, _STOP_SENSOR, sensor_id)["stopSensor"],
        _ask(client, _SET_CURSOR, {**sensor, "cursor": "set in traitvec ui"})["setSensorCursor"],
    ]
    # An error of these is a type of the answer, not one of GraphQL's errors.
    assert [one["__typename"] for one in answers] == [
        "ScheduleStateResult", "StopSensorMutationResult", "Sensor",
    ]  # fmt: skip


@contextmanager
def _started(command: Sequence[str], folder: Path, log: Path) -> Iterator[httpx.Client]:
    """Start Dagster in a folder; yields a client once the code location is loaded."""
    port = str(free_port())
    with (
        log.open("w") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S) as client,
    ):
        process = subprocess.Popen(
            [*command, "--port", port], cwd=folder, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not _is_loaded(client):
                is_waiting = process.poll() is None and time.monotonic() < deadline
                assert is_waiting, f"{command} does not start:\n{log.read_text()[-2000:]}"
                time.sleep(0.2)
            yield client
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            # Its servers would wait for a heartbeat; they are all of one session.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _repository(client: httpx.Client) -> dict[str, Any]:
    repository: dict[str, Any]
    (repository,) = _ask(client, _STATE)["repositoriesOrError"]["nodes"]
    return repository


def _sensor(repository: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the sensor of definitions."""
    states = {one["name"]: one["sensorState"] for one in repository["sensors"]}
    state: dict[str, Any] = states["demo_definitions"]
    return state


def _is_loaded(client: httpx.Client) -> bool:
    try:
        entries = _ask(client, _STATE)["workspaceOrError"]["locationEntries"]
    except httpx.TransportError:
        return False
    return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)


def _ask(client: httpx.Client, query: str, variables: dict[str, Any] | None = None) -> Any:
    asked = {"query": query, "variables": variables or {}}
    answer = client.post("/graphql", json=asked).json()
    assert "errors" not in answer, json.dumps(answer)
    return answer["data"]


def _read_yaml(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / path).read_text())
    return content
