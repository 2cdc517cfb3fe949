"""kill -9 under `traitvec ui`: a run in each stage, the daemon, and then everything at once."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.automation.ui_process import wait_for
from tests.faults.unfinished import ORDER
from tests.projects import SMALL, SmallProject, demo_definition, write_experiment
from traitvec_core.stage_names import METADATA_FILE, Stage
from traitvec_dagster.runs.gpu_lease import holder_of, seats
from traitvec_dagster.runs.ownership import PID_TAG

pytestmark = pytest.mark.services

# Enough work in each stage for a kill to meet it.
SETTINGS: dict[str, Any] = {
    "n_examples": 20,
    "layers": [2, 3],
    "steering": {"n_search": 5, "n_held_out": 10, "n_random": 2},
}
# `trait_dynamics` has nothing to do without prompts.
STAGES: list[Stage] = [stage for stage in ORDER if stage != "trait_dynamics"]
FAILED, DONE = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
ENDED = {FAILED, DONE}


class Services:
    """`traitvec ui` over a project: a webserver, a daemon, a code server, and the runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        with (self._folder / "dev.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c",
                 "from traitvec_dagster.cli.main import main; main()", "ui", "--port", port],
                cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """As a power cut: servers and runs, all in one moment."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_one(self, words: str) -> None:
        """Kill the one server whose command line holds these words."""
        assert self.process is not None
        for path in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = os.getpgid(int(path.name)) == self.process.pid
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if is_ours and words in command:
                os.kill(int(path.name), signal.SIGKILL)


@pytest.fixture
def services(tmp_path: Path, own_environment: None) -> Iterator[Services]:
    os.environ |= {"TMPDIR": str(tmp_path), "TRAITVEC_GPUS": "left right"}
    found = Services(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()


def test_whatever_is_killed_nothing_that_was_finished_is_lost(
    services: Services, tmp_path: Path
) -> None:
    victims: dict[str, Stage] = {f"dies_in_{stage}": stage for stage in STAGES}
    write_experiment(tmp_path, "demo", [], {**SETTINGS, "auto_run": True})
    with SmallProject(tmp_path) as project:
        instance = project.instance
        instance.get_runs_count()
        for trait in victims:
            project.define(trait, demo_definition())
        services.start()

        # A run in each stage: the code server notices, and the GPU is free again.
        left = dict(victims)
        while left:
            run, stage = _wait(lambda: _at_stage(instance, left))
            os.kill(int(run.tags[PID_TAG]), signal.SIGKILL)
            _wait(lambda: all(_owner(run) not in (holder_of(seat) or "") for seat in seats()))
            _wait(lambda: _status(instance, run) == FAILED)
            del left[run.tags["dagster/partition"]]
        kept = {trait: _kept(project, trait, stage) for trait, stage in victims.items()}

        # All again, for another report: the daemon is killed with runs queued and running, and
        # `traitvec ui` ends with it. The runs go on.
        project.set(thresholds={**SMALL["thresholds"], "contrast": 4})
        _wait(lambda: len(_signed(instance)) >= 2)
        services.kill_one("daemon run")
        assert services.process is not None
        services.process.wait(timeout=300)
        waiting = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))

        # Everything is killed. After a restart, queued runs are launched, running ones closed.
        working = _signed(instance)
        services.kill()
        services.start()
        _wait(lambda: all(_status(instance, run) in ENDED for run in working))
        _wait(lambda: all(_status(instance, run) == DONE for run in waiting))
        for trait, stage in victims.items():
            again = project.run(trait)
            assert again.is_success, again.problems
            assert set(project.states(trait).values()) == {"fresh"}
            assert _kept(project, trait, stage) == kept[trait]


def _wait(condition: Callable[[], Any]) -> Any:
    return wait_for(condition, 300)


def _signed(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Runs of which it is known which process works at them."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return [run for run in runs if PID_TAG in run.tags]


def _at_stage(
    instance: dg.DagsterInstance, wanted: dict[str, Stage]
) -> tuple[dg.DagsterRun, Stage] | None:
    """A run that is at the stage in which it is to die."""
    for run in _signed(instance):
        stage = wanted.get(run.tags["dagster/partition"])
        begun = instance.all_logs(run.run_id, dg.DagsterEventType.STEP_START)
        if stage and any(str(entry.step_key).endswith(stage) for entry in begun):
            return run, stage
    return None


def _owner(run: dg.DagsterRun) -> str:
    return f"run {run.run_id[:8]}"


def _status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def _kept(project: SmallProject, trait: str, stage: Stage) -> dict[str, bytes]:
    """What was written once and for all before a trait came to a stage."""
    folder = project.trait(trait)
    before = [METADATA_FILE[earlier] for earlier in ORDER[: ORDER.index(stage)]]
    return {
        name: (folder.path / name).read_bytes()
        for name in before
        if name != METADATA_FILE["validation_report"]
    }
