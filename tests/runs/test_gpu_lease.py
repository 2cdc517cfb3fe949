"""A GPU for each run: never two on one, none idle while one waits, free when a process dies."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.projects import REPOSITORY, SmallProject
from traitvec_core.errors import TraitvecError
from traitvec_dagster.runs.gpu_lease import holder_of, is_queued_by_run, seats
from traitvec_dagster.runs.headless import definitions_of

# Processes import Dagster first, on a machine that may be busy.
_PATIENCE_S = 240
DRIVER = [sys.executable, "-W", "ignore", "-m", "tests.runs.lease_driver"]
NVIDIA_SMI = "#!/bin/sh\nprintf 'GPU-a\\nGPU-b\\nGPU-c\\n'\n"


@dataclass
class Worker:
    """A process and the events that it reports."""

    process: "subprocess.Popen[str]"
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def all(self, what: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["what"] == what]

    def wait_for(self, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if events := self.all(what):
                return events[0]
            time.sleep(0.02)
        raise AssertionError(f"waited for {what!r}: {self.events}")

    def wait(self) -> int:
        return self.process.wait(timeout=_PATIENCE_S)


class Machine:
    """A machine with GPUs that do not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"},
            "TMPDIR": str(folder), "DAGSTER_HOME": str(folder), "TRAITVEC_GPUS": "left right",
        }  # fmt: skip
        self._workers: list[Worker] = []

    def start(self, owner: str, *works: str) -> Worker:
        worker = Worker(
            subprocess.Popen(
                [*DRIVER, owner, *works], cwd=REPOSITORY, env=self.environment,
                stdout=subprocess.PIPE, text=True, start_new_session=True,
            )
        )  # fmt: skip
        self._workers.append(worker)
        return worker

    def allow(self, name: str) -> None:
        """End the work that lasts until this name."""
        (self._folder / name).touch()

    def close(self) -> None:
        for worker in self._workers:
            # Its forked child too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.wait()


@pytest.fixture
def machine(tmp_path: Path, own_environment: None) -> Iterator[Machine]:
    started = Machine(tmp_path)
    yield started
    started.close()


@pytest.mark.slow
def test_four_at_two_gpus_never_share_one(machine: Machine) -> None:
    workers = [machine.start(f"trait {n}", "gpu=go", "here=0.1", "gpu=0.1") for n in range(4)]
    first_two = []
    for worker in workers:
        worker.wait_for("waits")
    deadline = time.monotonic() + _PATIENCE_S
    while sum(bool(worker.all("says")) for worker in workers) < 4:
        assert time.monotonic() < deadline, [worker.events for worker in workers]
        time.sleep(0.02)
    # Two work, and two say what they wait for.
    first_two = [worker for worker in workers if worker.all("has")]
    assert len(first_two) == 2
    machine.allow("go")
    held: dict[str, list[tuple[float, float]]] = {"left": [], "right": []}
    for worker in workers:
        assert worker.wait() == 0
        first = worker.wait_for("has")
        (last,) = [event for event in worker.all("says") if event["which"].startswith("released")]
        # One GPU from the first step to the last.
        assert {event["which"] for event in worker.all("has")} == {first["which"]}
        held[first["which"]].append((first["at"], last["at"]))
    for intervals in held.values():
        intervals.sort()
        assert intervals
        for (_, end), (start, _) in pairwise(intervals):
            assert start >= end


@pytest.mark.parametrize("work", ["gpu=never", "gpu=forked"])
def test_a_killed_process_frees_its_gpu(machine: Machine, work: str) -> None:
    machine.environment["TRAITVEC_GPUS"] = "only"
    first = machine.start("first", work)
    first.wait_for("has forked" if work.endswith("forked") else "has")
    second = machine.start("second", "gpu=0")
    message = second.wait_for("says")["which"]
    assert "waiting for GPU only, held by first (process" in message
    assert not second.all("has")
    os.kill(first.process.pid, signal.SIGKILL)
    # The forked child is still alive.
    assert second.wait_for("has")["which"] == "only"


def test_a_run_that_works_elsewhere_gives_its_gpu_to_one_that_waits(machine: Machine) -> None:
    machine.environment["TRAITVEC_GPUS"] = "only"
    first = machine.start("first", "gpu=0.1", "elsewhere=back", "gpu=0.1")
    first.wait_for("has")
    second = machine.start("second", "gpu=0.1")
    second.wait_for("has")
    assert second.wait() == 0
    machine.allow("back")
    assert first.wait() == 0
    first.wait_for("ends")
    # It unloads its models each time it gives the GPU back, and returns to the same GPU.
    assert len(first.all("unloads")) == 2
    assert [event["which"] for event in first.all("has")] == ["only", "only"]


def test_a_mask_is_never_left(machine: Machine) -> None:
    del machine.environment["TRAITVEC_GPUS"]
    machine.environment["CUDA_VISIBLE_DEVICES"] = "5,7"
    workers = [machine.start(f"trait {n}", "gpu=end") for n in range(2)]
    assert {worker.wait_for("has")["which"] for worker in workers} == {"5", "7"}


def test_on_a_cpu_a_seat_is_kept_for_a_step(machine: Machine) -> None:
    del machine.environment["TRAITVEC_GPUS"]
    machine.environment["CUDA_VISIBLE_DEVICES"] = ""
    first = machine.start("first", "gpu=waited for", "here=end")
    first.wait_for("has")
    second = machine.start("second", "gpu=0.1")
    assert "the CPU, held by first" in second.wait_for("says")["which"]
    machine.allow("waited for")
    assert second.wait() == 0
    assert first.process.poll() is None


def _seats(folder: Path, *environments: dict[str, str]) -> list[list[tuple[str, list[str]]]]:
    """The seats in a process of a machine with three GPUs, for one environment after another."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    hidden = {"CUDA_VISIBLE_DEVICES", "TRAITVEC_GPUS", "DAGSTER_HOME"}
    done = subprocess.run(
        [*DRIVER, "--seats", *map(json.dumps, environments)], cwd=REPOSITORY, check=True,
        capture_output=True, text=True, timeout=_PATIENCE_S,
        env={**{k: v for k, v in os.environ.items() if k not in hidden},
             "TMPDIR": str(folder), "PATH": f"{program.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_seats_are_found(tmp_path: Path, own_environment: None) -> None:
    expected: dict[str, list[str]] = {
        "2,0": ["2", "0"], "1,-1,0": ["1"], "GPU-b": ["GPU-b"], "": ["cpu"], "-1": ["cpu"],
        "1,GPU-b": ["1", "GPU-b"],
    }  # fmt: skip
    unmasked, *masked, pairs, none = _seats(
        tmp_path,
        {},
        *({"CUDA_VISIBLE_DEVICES": mask} for mask in expected),
        {"CUDA_VISIBLE_DEVICES": "0,1", "TRAITVEC_GPUS": "0,1 2 1"},
        {"TRAITVEC_GPUS": ""},
    )
    assert [name for name, _ in unmasked] == ["0", "1", "2"]
    for (mask, names), found in zip(expected.items(), masked, strict=True):
        assert [name for name, _ in found] == names, mask
    # By its number and by its id it is the same GPU.
    (_, by_number), (_, by_id) = masked[-1]
    assert by_number == by_id
    assert [(name, len(locks)) for name, locks in pairs] == [("0,1", 2), ("1", 1)]
    assert none == []


def test_a_seat_outside_the_mask_is_refused(
    own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setenv("TRAITVEC_GPUS", "GPU-c")
    with pytest.raises(TraitvecError, match="names no GPU of CUDA_VISIBLE_DEVICES='GPU-a,GPU-b'"):
        seats()


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../b", ".."])
def test_a_hostile_name_locks_no_other_file(
    name: str, tmp_path: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TRAITVEC_GPUS", name)
    (seat,) = seats()
    assert all(path.parent.parent == tmp_path for path in seat.locks)
    assert all(path.name.startswith("gpu-") for path in seat.locks)
    assert holder_of(seat) is None


def test_the_shipped_instance_counts_runs(empty: SmallProject) -> None:
    assert is_queued_by_run(empty.instance)
    assert empty.instance.global_op_concurrency_default_limit == 4
    with dg.DagsterInstance.ephemeral() as other:
        assert not is_queued_by_run(other)


def test_a_judge_behind_an_api_has_its_own_pool(empty: SmallProject) -> None:
    empty.set(judge_model="gpt-5-mini")
    graph = definitions_of(empty.project).get_repository_def().asset_graph
    assert graph.get(empty.graph().key("judged_responses")).pools == {"judge_api"}
    assert graph.get(empty.graph().key("responses")).pools == {"gpu"}
