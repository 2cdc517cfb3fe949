"""Several traits at once: processes that share the GPUs, keep their models, and may die."""

import os
import signal
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment
from traitvec_core.errors import TraitvecError
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.runs.ownership import GPUS_TAG, PID_TAG, close_dead_runs
from traitvec_dagster.runs.parallel import (
    ProgressEvent,
    longest_first,
    raise_pool_limit,
    run_traits,
    split_gpus,
)

# A project sets the environment of its process.
pytestmark = pytest.mark.usefixtures("own_environment", "one_picture")

TRAITS = ["refusal", "uncertainty", "unsure"]


def written(folder: Path) -> SmallProject:
    write_experiment(folder, "demo", TRAITS[:2], FEW_VECTORS)
    project = SmallProject(folder)
    project.define("unsure", demo_definition("uncertainty"))
    return project


def ran(project: SmallProject, shares: list[str | None], tell: Any) -> list[Any]:
    return list(
        run_traits(
            project.project, "demo", TRAITS,
            selection="*", overrides={"n_examples": 6}, shares=shares, on_event=tell,
        )
    )  # fmt: skip


@pytest.mark.services
def test_each_process_keeps_its_gpus_and_each_trait_is_a_run(tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    with written(tmp_path) as project:
        assert raise_pool_limit(project.instance, 9)
        assert not raise_pool_limit(project.instance, 9)
        runs = ran(project, ["4", "7"], events.append)
        assert {run.trait for run in runs} == set(TRAITS)
        assert all(run.is_success for run in runs), [run.problems for run in runs]
        records = project.instance.get_runs()
        assert {record.status for record in records} == {dg.DagsterRunStatus.SUCCESS}
        # A process that starts late may find nothing left to run.
        shares = {(r.tags[PID_TAG], r.tags[GPUS_TAG]) for r in records}
        assert len({gpus for _, gpus in shares} & {"4", "7"}) == len(shares)
        assert str(os.getpid()) not in {record.tags[PID_TAG] for record in records}
        assert {item.trait for item in events} == set(TRAITS)
        assert {item.process for item in events} == {
            int(record.tags[PID_TAG]) for record in records
        }
        assert len(project.trait("refusal").read_responses()) == 12


@pytest.mark.services
def test_a_process_that_is_killed_loses_no_finished_work(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(event: ProgressEvent) -> None:
        if event.stage == "judged_responses" and not killed:
            killed.append(event.process)
            # Not in the listening thread: it would hold what the process has still to say.
            Thread(target=os.kill, args=(event.process, signal.SIGKILL)).start()

    with written(tmp_path) as project:
        runs = ran(project, [None], kill)
        assert killed
        assert [run.trait for run in runs if not run.is_success]
        assert all("was killed" in run.problems[0] for run in runs if not run.is_success)
        # As `traitvec run` does first: the dead run holds its place in the pool.
        assert close_dead_runs(project.instance)
        again = ran(project, [None], lambda event: None)
        assert all(run.is_success for run in again), [run.problems for run in again]
        first = next(run for run in again if run.trait == TRAITS[0])
        assert "responses" in first.reused


def test_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1, GPU-5,3,4")
    assert split_gpus(2) == ["0,GPU-5,4", "1,3"]
    assert split_gpus(5) == ["0", "1", "GPU-5", "3", "4"]
    with pytest.raises(TraitvecError, match="5 can be seen"):
        split_gpus(6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert split_gpus(3) == [None, None, None]


def test_the_longest_come_first(tmp_path: Path) -> None:
    with written(tmp_path) as project:
        # The first run also loads torch and the model.
        for trait, n_examples in (("uncertainty", 40), ("unsure", 4)):
            assert project.run(trait, select="responses", n_examples=n_examples).is_success
        folder = ExperimentFolder(project.project.experiments, "demo")
        assert longest_first(folder, TRAITS) == ["refusal", "uncertainty", "unsure"]
