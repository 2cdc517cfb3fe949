"""`kill -9` in the middle of any stage, then a rerun: no half file is read, no work repeated."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import EventLogEntry

from tests.clocks import run_with_clock
from tests.faults.unfinished import ORDER, copy_unfinished
from tests.projects import (
    FEW_VECTORS,
    REPOSITORY,
    SmallProject,
    results,
    snapshot,
    write_experiment,
)
from traitvec_core.stage_names import Stage
from traitvec_dagster.graph.resources import set_progress_sink
from traitvec_dagster.runs.headless import definitions_of
from traitvec_dagster.runs.ownership import (
    HOST_TAG,
    PID_TAG,
    START_TAG,
    close_dead_runs,
    sign_run,
)

pytestmark = pytest.mark.slow

# Enough for two batches of judgements, and for four of responses.
SETTINGS: dict[str, Any] = {
    "n_examples": 14,
    "batch_size": 8,
    **FEW_VECTORS,
}


CLOSE_DEAD_RUNS = """
from pathlib import Path
from tests.projects import SmallProject
from traitvec_dagster.runs.ownership import close_dead_runs

with SmallProject(Path.cwd()) as project:
    print(close_dead_runs(project.instance))
"""


class Driver:
    """The process that runs and is killed; see `kill_driver.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.runs.kill_driver"],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run_until_killed(
        self, folder: Path, stage: Stage, at: dict[str, Any], redo: list[Stage] | None = None
    ) -> int:
        task = {"folder": str(folder), "select": f"{stage}+", "at": at, "redo": redo or []}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=300)


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


@pytest.mark.services
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
    copy_unfinished(folder, undisturbed, stage)
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


@pytest.mark.services
def test_killed_steering_goes_on_and_ends_the_same(
    driver: Driver, undisturbed: Path, tmp_path: Path, own_environment: None, one_picture: None
) -> None:
    folder = tmp_path / "project"
    copy_unfinished(folder, undisturbed, "steering_evaluation")
    whole = tmp_path / "whole"
    with SmallProject(folder) as project:
        project.set(steering={"n_search": 5, "n_held_out": 10, "n_random": 2})
    shutil.copytree(folder, whole)
    at = {"stage": "steering_evaluation", "done": 20}
    assert driver.run_until_killed(folder, "steering_evaluation", at) == -signal.SIGKILL
    (journal,) = (folder / "experiments/demo/refusal/responses").glob(".steering_evaluation-*")
    done = journal.read_text("utf-8").splitlines()
    assert len(done) >= 20
    with SmallProject(folder) as project:
        assert project.states("refusal")["steering_evaluation"] == "missing"
        assert len(close_dead_runs(project.instance)) == 1
        again = project.run("refusal")
        assert again.is_good, again.problems
        assert again.reused == ORDER[: ORDER.index("steering_evaluation")]
        assert not journal.exists()
    with SmallProject(whole) as project:
        os.environ["DAGSTER_HOME"] = str(whole / ".dagster")
        assert project.run("refusal").is_good
    trait = Path("experiments/demo/refusal")
    assert results(folder / trait) == results(whole / trait)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_command_and_not_just_the_trait(
    empty: SmallProject, how: signal.Signals
) -> None:
    def interrupt(stage: str, done: int, total: int, note: str = "", **_: object) -> None:
        os.kill(os.getpid(), how)

    interrupt.say = lambda text: None  # type: ignore[attr-defined]
    empty.set(**FEW_VECTORS)
    set_progress_sink(interrupt)  # type: ignore[arg-type]
    try:
        with pytest.raises(KeyboardInterrupt):
            empty.run("refusal", "definition or responses")
    finally:
        set_progress_sink(None)
    assert empty.instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.FAILURE
    assert empty.run("refusal", "definition or responses").is_success


def test_another_process_with_the_same_number_is_not_the_owner(empty: SmallProject) -> None:
    job = definitions_of(empty.project).resolve_job_def(empty.graph().job)
    run = empty.instance.create_run_for_job(job)
    sign_run(empty.instance, run, "demo")
    assert close_dead_runs(empty.instance) == []
    signed = empty.instance.get_run_by_id(run.run_id)
    assert signed is not None
    boot, _, ticks = signed.tags[START_TAG].rpartition("-")
    # The number is this process's; it started at another tick, or under another boot.
    for start in (f"{boot}-{int(ticks) - 1}", f"another-boot-{ticks}"):
        again = empty.instance.create_run_for_job(job, tags={**signed.tags, START_TAG: start})
        assert close_dead_runs(empty.instance) == [again.run_id]


@pytest.mark.parametrize("step_s", [120, -3600, 8 * 3600], ids=["two minutes", "back", "slept"])
def test_a_clock_that_is_set_ends_no_run(empty: SmallProject, step_s: float) -> None:
    """The run began by the old clock; the look at it goes by the new one."""
    job = definitions_of(empty.project).resolve_job_def(empty.graph().job)
    run = empty.instance.create_run_for_job(job)
    sign_run(empty.instance, run, "demo")
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name)
    empty.instance.handle_new_event(
        EventLogEntry(
            error_info=None, level="debug", user_message="", run_id=run.run_id,
            timestamp=time.time() - step_s, dagster_event=event,
        )
    )  # fmt: skip
    assert close_dead_runs(empty.instance) == []
    # The same, asked by a process whose clock is set, as a sensor's or another terminal's is.
    assert run_with_clock(step_s, CLOSE_DEAD_RUNS, empty.folder) == "[]"
    now = empty.instance.get_run_by_id(run.run_id)
    assert now is not None
    assert now.status == dg.DagsterRunStatus.STARTED


def test_a_run_that_is_alive_is_left_alone(empty: SmallProject) -> None:
    job = definitions_of(empty.project).resolve_job_def(empty.graph().job)
    run = empty.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={HOST_TAG: socket.gethostname(), PID_TAG: str(os.getpid())},
    )
    elsewhere = empty.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={HOST_TAG: "another-machine", PID_TAG: "1"},
    )
    # Signed by the process at work, whatever process the tags named before.
    again = empty.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={HOST_TAG: socket.gethostname(), PID_TAG: "999999999"},
    )
    sign_run(empty.instance, again, "demo")
    assert close_dead_runs(empty.instance) == []
    for run_id in (run.run_id, elsewhere.run_id, again.run_id):
        found = empty.instance.get_run_by_id(run_id)
        assert found is not None
        assert found.status == dg.DagsterRunStatus.STARTED


@pytest.mark.services
@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("responses", {"stage": "responses", "done": 14}),
        ("responses", {"writing": "responses/raw_neg.csv"}),
        ("responses", {"renaming": "responses/raw_neg.csv"}),
        ("responses", {"renaming": "responses/generation_metadata.json"}),
        ("judged_responses", {"stage": "judged_responses", "done": 20}),
        ("judged_responses", {"writing": "responses/pos.csv"}),
        ("judged_responses", {"renaming": "responses/judging_metadata.json"}),
        ("vectors", {"writing": "vectors/manifest.json"}),
        ("vectors", {"renaming": "vectors/mean_diff_layer3.pt"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_killed_redo_leaves_a_whole_result(
    driver: Driver, undisturbed: Path, tmp_path: Path, own_environment: None, one_picture: None,
    stage: Stage, at: dict[str, Any],
) -> None:  # fmt: skip
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder)
    trait = folder / "experiments/demo/refusal"
    whole = results(trait)
    assert driver.run_until_killed(folder, stage, at, redo=[stage]) == -signal.SIGKILL
    with SmallProject(folder) as project:
        assert len(close_dead_runs(project.instance)) == 1
        # The earlier result is there for every reader: this model's redo is equal to it.
        assert set(project.states("refusal").values()) == {"fresh"}
        assert results(trait) == whole
        plain = project.run("refusal")
        assert plain.is_good, plain.problems
        assert plain.reused == ORDER
        assert set(project.states("refusal").values()) == {"fresh"}
        assert results(trait) == whole
        if "stage" in at:
            # Asked again, the redo continues where it was killed.
            again = project.run("refusal", redo=[stage])
            assert again.is_good, again.problems
            assert stage in again.made
            metadata = project.trait("refusal").metadata(stage)
            n_kept = metadata.get("resumed_from", 56 - metadata.get("asked_now", 0))
            assert at["done"] <= n_kept < (28 if stage == "responses" else 56)
            assert results(trait) == whole
            assert not list((trait / "responses").glob(".*.jsonl"))
