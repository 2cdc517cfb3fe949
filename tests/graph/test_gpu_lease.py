"""A GPU for each run: never two on one, none idle while one waits, free when a process dies."""

import json
import os
import signal
import subprocess
import sys
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
from traitvec_dagster.runs import gpu_lease
from traitvec_dagster.runs.gpu_lease import holder_of, is_queued_by_run, seats
from traitvec_dagster.runs.headless import definitions_of

# How long a GPU may stand free while somebody waits: they look five times a second.
_SLACK_S = 1.0


@dataclass
class Worker:
    """A process and what it tells."""

    process: "subprocess.Popen[str]"
    told: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))

    def at(self, what: str) -> float | None:
        return next((item["at"] for item in self.told if item["what"] == what), None)

    def wait_for(self, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for item in self.told:
                if item["what"] == what:
                    return item
            time.sleep(0.02)
        raise AssertionError(f"waited for {what!r}: {self.told}")


class Machine:
    """A machine with GPUs that are not there."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"},
            "TMPDIR": str(folder), "DAGSTER_HOME": str(folder), "TRAITVEC_GPUS": "left right",
        }  # fmt: skip
        self.workers: list[Worker] = []

    def start(self, owner: str, *works: str, **environment: str) -> Worker:
        worker = Worker(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.graph.lease_driver", owner, *works],
                cwd=REPOSITORY, env={**self.environment, **environment},
                stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait(timeout=30)


@pytest.fixture
def machine(tmp_path: Path, own_environment: None) -> Iterator[Machine]:
    found = Machine(tmp_path)
    yield found
    found.close()


@pytest.fixture
def here(tmp_path: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process on a machine whose GPUs are told by the environment alone."""
    for name in ("CUDA_VISIBLE_DEVICES", "TRAITVEC_GPUS", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpu_lease, "_uuids", lambda: ())
    monkeypatch.setattr(gpu_lease.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_six_at_two_gpus_never_share_one_and_leave_none_idle(machine: Machine) -> None:
    workers = [machine.start(f"trait {n}", "gpu=1.0", "here=0.2", "gpu=0.5") for n in range(6)]
    for worker in workers:
        assert worker.process.wait(timeout=60) == 0
    held: dict[str, list[tuple[float, float]]] = {"left": [], "right": []}
    waits: list[tuple[float, float]] = []
    for worker in workers:
        first = worker.wait_for("has")
        (last,) = [item for item in worker.told if item["which"].startswith("released")]
        # One GPU from the first step to the last.
        assert {item["which"] for item in worker.told if item["what"] == "has"} == {first["which"]}
        held[first["which"]].append((first["at"], last["at"]))
        waits.append((worker.wait_for("waits")["at"], first["at"]))
    for intervals in held.values():
        intervals.sort()
        assert intervals
        for (_, end), (start, _) in pairwise(intervals):
            assert start >= end - 0.05
    idle = _idle_while_awaited(held, waits)
    # Four times a GPU goes from one to the next.
    assert idle < 4 * _SLACK_S, idle


def _idle_while_awaited(
    held: dict[str, list[tuple[float, float]]], waits: list[tuple[float, float]]
) -> float:
    """Seconds in which a GPU was free and somebody waited, over all GPUs."""
    edges = sorted({t for pair in [*waits, *(p for i in held.values() for p in i)] for t in pair})
    idle = 0.0
    for start, end in pairwise(edges):
        middle = (start + end) / 2
        is_awaited = any(a <= middle < b for a, b in waits)
        free = sum(not any(a <= middle < b for a, b in of) for of in held.values())
        idle += free * (end - start) * is_awaited
    return idle


@pytest.mark.parametrize("work", ["gpu=30", "gpu=forked"])
def test_a_killed_process_frees_its_gpu_at_once(machine: Machine, work: str) -> None:
    machine.environment["TRAITVEC_GPUS"] = "only"
    first = machine.start("first", work)
    first.wait_for("has")
    second = machine.start("second", "gpu=0")
    said = second.wait_for("says")["which"]
    assert "waiting for GPU only, held by first (process" in said
    if work.endswith("forked"):
        time.sleep(0.5)
    killed_at = time.monotonic()
    os.kill(first.process.pid, signal.SIGKILL)
    assert second.wait_for("has")["at"] - killed_at < _SLACK_S


def test_who_works_elsewhere_gives_the_gpu_to_who_waits(machine: Machine) -> None:
    machine.environment["TRAITVEC_GPUS"] = "only"
    first = machine.start("first", "gpu=0.2", "elsewhere=4", "gpu=0.1")
    first.wait_for("has")
    second = machine.start("second", "gpu=0.5")
    away = first.wait_for("is away")["at"]
    assert second.wait_for("has")["at"] < away + 3
    assert first.process.wait(timeout=30) == 0
    # Models are unloaded each time that it gives the GPU back; it comes back to the same one.
    assert [item["what"] for item in first.told].count("unloads") == 2
    assert [item["which"] for item in first.told if item["what"] == "has"] == ["only", "only"]


def test_a_mask_is_never_left(machine: Machine) -> None:
    del machine.environment["TRAITVEC_GPUS"]
    machine.environment["CUDA_VISIBLE_DEVICES"] = "5,7"
    workers = [machine.start(f"trait {n}", "gpu=2") for n in range(2)]
    assert {worker.wait_for("has")["which"] for worker in workers} == {"5", "7"}


def test_seats_are_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> list[str]:
        return [seat.name for seat in seats()]

    assert names() == ["cpu"]
    monkeypatch.setattr(gpu_lease, "_uuids", lambda: ("GPU-a", "GPU-b", "GPU-c"))
    assert names() == ["0", "1", "2"]
    for mask, expected in {
        "2,0": ["2", "0"], "1,-1,0": ["1"], "GPU-b": ["GPU-b"], "": ["cpu"], "-1": ["cpu"],
    }.items():  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
        assert names() == expected, mask
    # By its number and by its id it is the same GPU.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-b")
    number, id_ = seats()
    assert number.locks == id_.locks
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TRAITVEC_GPUS", "0,1 2 1")
    assert names() == ["0,1", "1"]
    assert len(seats()[0].locks) == 2
    monkeypatch.setenv("TRAITVEC_GPUS", "2")
    with pytest.raises(TraitvecError, match="names no GPU of CUDA_VISIBLE_DEVICES='0,1'"):
        seats()
    monkeypatch.setenv("TRAITVEC_GPUS", "")
    assert names() == []


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../b", ".."])
def test_a_hostile_name_locks_no_other_file(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAITVEC_GPUS", name)
    (seat,) = seats()
    assert all(path.parent.parent == here for path in seat.locks)
    assert all(path.name.startswith("gpu-") for path in seat.locks)
    assert holder_of(seat) is None


def test_on_a_cpu_a_seat_is_kept_for_a_step(machine: Machine) -> None:
    del machine.environment["TRAITVEC_GPUS"]
    machine.environment["CUDA_VISIBLE_DEVICES"] = ""
    first = machine.start("first", "gpu=0.5", "here=4")
    first.wait_for("has")
    second = machine.start("second", "gpu=0.1")
    assert second.process.wait(timeout=30) == 0
    assert first.process.poll() is None
    assert "the CPU, held by first" in str(second.told) or first.at("is away") is not None


def test_the_shipped_instance_counts_runs(empty: SmallProject) -> None:
    assert is_queued_by_run(empty.instance)
    assert empty.instance.global_op_concurrency_default_limit == 4
    with dg.DagsterInstance.ephemeral() as other:
        assert not is_queued_by_run(other)


def test_a_judge_behind_an_api_has_a_pool_of_its_own(empty: SmallProject) -> None:
    empty.set(judge_model="gpt-5-mini")
    graph = definitions_of(empty.project).get_repository_def().asset_graph
    assert graph.get(empty.graph().key("judged_responses")).pools == {"judge_api"}
    assert graph.get(empty.graph().key("responses")).pools == {"gpu"}
