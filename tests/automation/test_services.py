"""`traitvec ui` over a project: new traits run, two GPUs are shared, a failure is posted."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.automation.hook import listening
from tests.automation.ui_process import traitvec_ui, wait_for
from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment
from traitvec_dagster.automation.webhook import WEBHOOK_VARIABLE

pytestmark = pytest.mark.services


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with listening() as both:
        yield both


@pytest.fixture
def watched(
    tmp_path: Path, own_environment: None, hook: tuple[str, list[dict[str, Any]]]
) -> Iterator[SmallProject]:
    """Under `traitvec ui`, on a machine with two GPUs that are not there: an experiment without
    traits, and one that is run every minute.
    """
    os.environ |= {
        "TRAITVEC_GPUS": "left right",
        WEBHOOK_VARIABLE: hook[0],
    }
    write_experiment(tmp_path, "demo", [], {**FEW_VECTORS, "auto_run": True})
    every_minute = {**FEW_VECTORS, "schedule": {"cron": "* * * * *"}}
    write_experiment(tmp_path, "minutes", ["refusal"], every_minute)
    with traitvec_ui(tmp_path) as project:
        yield project


def test_a_new_definition_is_run_and_a_killed_run_frees_its_gpu(
    watched: SmallProject, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    instance = watched.instance

    def statuses(trait: str) -> set[dg.DagsterRunStatus]:
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": trait}))
        return {run.status for run in runs}

    def is_done(trait: str) -> bool:
        return dg.DagsterRunStatus.SUCCESS in statuses(trait)

    # Three at once, one of them broken.
    broken = watched.trait("broken")
    broken.path.mkdir()
    broken.definition_path.write_text("{}")
    for trait in ("one", "two"):
        watched.define(trait, demo_definition())
    wait_for(lambda: is_done("one") and is_done("two"))
    assert set(instance.get_dynamic_partitions("traits/demo")) == {"one", "two", "broken"}
    # Its check has run, and nothing else.
    wait_for(lambda: statuses("broken") == {dg.DagsterRunStatus.FAILURE})
    assert not watched.materializations("responses", "broken")
    (message,) = wait_for(lambda: [m for m in hook[1] if m["trait"] == "broken"])
    assert "failed: definition: " in message["text"]

    # More than there are GPUs; one of them is killed at work.
    traits = [f"later_{n}" for n in range(6)]
    for trait in traits:
        watched.define(trait, demo_definition())
    victim = wait_for(lambda: _at_work(instance, traits))
    os.kill(victim[1], signal.SIGKILL)
    survivors = [trait for trait in traits if trait != victim[0]]
    wait_for(lambda: all(map(is_done, survivors)))
    assert statuses(victim[0]) == {dg.DagsterRunStatus.FAILURE}
    messages = wait_for(lambda: [m for m in hook[1] if m["trait"] != "broken"])
    # Dagster may record a killed run as failed twice: by its launcher and by the monitor.
    ((experiment, trait, _),) = {(m["experiment"], m["trait"], m["run_id"]) for m in messages}
    assert (experiment, trait) == ("demo", victim[0])
    scheduled = dg.RunsFilter(
        tags={"dagster/schedule_name": "minutes_rerun"}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    assert wait_for(lambda: instance.get_runs(scheduled))[0].tags["dagster/partition"] == "refusal"
    leases = _leases(instance)
    assert {lease.gpu for lease in leases} == {"left", "right"}
    for gpu in ("left", "right"):
        held = sorted((lease.start, lease.end) for lease in leases if lease.gpu == gpu)
        for (_, end), (start, _) in pairwise(held):
            assert start >= end


def _at_work(instance: dg.DagsterInstance, traits: list[str]) -> tuple[str, int] | None:
    """A trait that has a GPU, and its process."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        trait = run.tags.get("dagster/partition", "")
        if trait in traits and "traitvec/gpus" in run.tags:
            told = " ".join(entry.message for entry in instance.all_logs(run.run_id))
            pid = re.search(r"pid: (\d+)", told)
            if pid:
                return trait, int(pid[1])
    return None


@dataclass(frozen=True)
class Lease:
    """From a run's log."""

    gpu: str
    start: float
    end: float


def _leases(instance: dg.DagsterInstance) -> list[Lease]:
    found = []
    for record in instance.get_run_records():
        run = record.dagster_run
        times: dict[str, float] = {}
        for entry in instance.all_logs(run.run_id):
            for words in ("using", "released"):
                if (entry.user_message or "").startswith(words):
                    times.setdefault(words, entry.timestamp)
        if "using" in times:
            assert record.end_time is not None
            found.append(
                Lease(
                    run.tags["traitvec/gpus"],
                    times["using"],
                    times.get("released", record.end_time),
                )
            )
    return found
