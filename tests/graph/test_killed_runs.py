"""kill -9 in the middle of any stage, then again: nothing half is read, nothing done twice."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.projects import (
    FEW_VECTORS,
    REPOSITORY,
    SmallProject,
    results,
    snapshot,
    write_experiment,
)
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE
from traitvec_core.provenance import STAGES, Stage
from traitvec_dagster.headless import close_dead_runs

# Enough for two batches of judgements, and for four of responses.
SETTINGS: dict[str, Any] = {
    "n_examples": 14,
    "batch_size": 8,
    **FEW_VECTORS,
}
ORDER: list[Stage] = list(STAGES[1:])


class Driver:
    """The process that runs and is killed; see `kill_driver.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.graph.kill_driver"],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run_until_killed(self, folder: Path, stage: Stage, at: dict[str, Any]) -> int:
        task = {"folder": str(folder), "select": f"{stage}+", "at": at}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    started = Driver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, new_instance: Path, own_module_environment: None
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(new_instance, folder / ".dagster")
    write_experiment(folder, "demo", ["refusal"], SETTINGS)
    with SmallProject(folder) as project:
        done = project.run("refusal")
        assert done.is_success, done.problems
    return folder


def _unfinished(folder: Path, undisturbed: Path, first: Stage) -> None:
    """A project in which `first` is the stage to be made next."""
    # Without the judgements, which outlive what was made of them.
    ignored = (f"{JUDGEMENTS_FILE}*",) if first == "judged_responses" else ()
    shutil.copytree(undisturbed, folder, ignore=shutil.ignore_patterns(*ignored))
    trait = folder / "experiments/demo/refusal"
    for stage in ORDER[ORDER.index(first) :]:
        for part in PARTS[stage]:
            for path in trait.glob(part):
                path.unlink()


PARTS: dict[Stage, tuple[str, ...]] = {
    "definition": (),
    "responses": ("responses/raw_*.csv", "responses/generation_metadata.json"),
    "judged_responses": ("responses/pos.csv", "responses/neg.csv", "responses/judging_*.json"),
    "activations": ("activations/*",),
    "vectors": ("vectors/*",),
    "steering_evaluation": ("steering/*",),
    "validation_report": ("validation/*",),
}


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("responses", {"stage": "responses", "done": 14}),
        ("responses", {"writing": "responses/raw_neg.csv"}),
        ("judged_responses", {"stage": "judged_responses", "done": 20}),
        ("activations", {"writing": "activations/all_layers.pt"}),
        ("vectors", {"writing": "vectors/mean_diff_layer3_metadata.json"}),
        ("validation_report", {"writing": "validation/report.html"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_a_killed_run_goes_on_where_it_was(
    driver: Driver, undisturbed: Path, tmp_path: Path, own_environment: None, one_picture: None,
    stage: Stage, at: dict[str, Any],
) -> None:  # fmt: skip
    folder = tmp_path / "project"
    _unfinished(folder, undisturbed, stage)
    trait = folder / "experiments/demo/refusal"
    kept = snapshot(trait)
    assert driver.run_until_killed(folder, stage, at) == -signal.SIGKILL
    for left in trait.rglob(".*.tmp"):
        os.utime(left, (0, 0))  # as if it had happened yesterday
    with SmallProject(folder) as project:
        # Nothing of the stage counts as made, and nobody can read it.
        assert project.states("refusal")[stage] == "missing"
        assert len(close_dead_runs(project.instance)) == 1
        assert close_dead_runs(project.instance) == []
        newest = project.instance.get_runs(limit=1)[0]
        assert newest.status == dg.DagsterRunStatus.FAILURE
        again = project.run("refusal")
        assert again.is_good, again.problems
        assert again.reused == ORDER[: ORDER.index(stage)]
        assert list(again.made) == ORDER[ORDER.index(stage) :]
        if "stage" in at:
            made = project.trait("refusal").metadata(stage)
            total = 28 if stage == "responses" else 56
            kept_rows = made.get("resumed_from", total - made.get("asked_now", 0))
            assert 0 < at["done"] <= kept_rows < total
        assert set(project.states("refusal").values()) == {"fresh"}
    after = snapshot(trait)
    assert {name: after[name] for name in kept} == kept
    assert results(trait) == results(undisturbed / "experiments/demo/refusal")
    # Neither journals nor halves are left behind.
    assert set(after) == set(snapshot(undisturbed / "experiments/demo/refusal"))


def test_a_run_that_is_alive_is_left_alone(empty: SmallProject) -> None:
    job = empty.project.definitions.resolve_job_def(empty.graph().job)
    run = empty.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"traitvec/host": socket.gethostname(), "traitvec/pid": str(os.getpid())},
    )
    elsewhere = empty.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"traitvec/host": "another-machine", "traitvec/pid": "1"},
    )
    assert close_dead_runs(empty.instance) == []
    for run_id in (run.run_id, elsewhere.run_id):
        found = empty.instance.get_run_by_id(run_id)
        assert found is not None
        assert found.status == dg.DagsterRunStatus.STARTED
