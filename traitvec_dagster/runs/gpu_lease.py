"""A GPU for each run on this machine: a lock file per GPU, which the kernel frees with its process.

A process takes a GPU when it first loads a model, and keeps it, with the model, until no step of
its run wants one or one works behind an API. Without a GPU there is one seat, the CPU, which is
kept for a step at a time.
"""

import fcntl
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TextIO

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.stages.spec import Place

__all__ = [
    "SEATS_VARIABLE",
    "Seat",
    "Step",
    "holder_of",
    "is_queued_by_run",
    "seats",
    "step_at",
]

SEATS_VARIABLE = "TRAITVEC_GPUS"
_MASK = "CUDA_VISIBLE_DEVICES"
_POLL_S = 0.2
_CPU = "cpu"


@dataclass(frozen=True)
class Seat:
    """What one run gets.

    Attributes:
        name: Its `CUDA_VISIBLE_DEVICES`, or `cpu`.
        locks: The lock file of each of its GPUs, sorted.
    """

    name: str
    locks: tuple[Path, ...]


@dataclass(frozen=True)
class Step:
    """One step of a run, and how it gets its seat.

    Attributes:
        owner: Who it is, for others to read.
        say: Told when it waits.
        on_seat: Told which GPU it got.
        keeps_gpu: Whether the GPU and the models stay with the process for its next step. Only a
            run that holds its places in the pools from start to end may keep it: one that has
            the GPU and one that has the place in the pool would wait for each other.
    """

    owner: str
    say: Callable[[str], None]
    on_seat: Callable[[str], None]
    keeps_gpu: bool

    def take_seat(self) -> None:
        """Wait for a GPU and make it the only one of this process; call before a model is loaded.

        Raises:
            TraitvecError: If the seats that are named are none of those that may be used.
        """
        if _Held.seat is not None or _is_bound():
            return
        # A process whose CUDA has started cannot move to another GPU.
        wanted = [seat for seat in seats() if _Held.home in {None, seat.name}]
        if not wanted:
            return
        told = False
        while (taken := next(filter(_take, wanted), None)) is None:
            if not told:
                told = True
                self.say("waiting for " + "; ".join(map(_told, wanted)))
            time.sleep(_POLL_S)
        for file in _Held.files:
            file.seek(0)
            file.truncate()
            since = datetime.now(UTC).isoformat(timespec="seconds")
            json.dump({"pid": os.getpid(), "owner": self.owner, "since": since}, file)
            file.flush()
        if taken.name != _CPU:
            if _MASK not in os.environ:
                os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            os.environ[_MASK] = _Held.home = taken.name
            self.say(f"works on GPU {taken.name}")
            self.on_seat(taken.name)


@contextmanager
def step_at(place: Place, step: Step, unload: Callable[[], None]) -> Iterator[Step]:
    """Do a step: one behind an API gives the GPU back first.

    Args:
        place: Where it works.
        step: The step.
        unload: Forgets the loaded models.
    """
    if place == "elsewhere":
        _give_back(step, unload)
    try:
        yield step
    finally:
        if _Held.seat is not None and _Held.seat.name == _CPU:
            # What is loaded may stay: it is in nobody's way.
            _leave()
        elif not step.keeps_gpu:
            _give_back(step, unload)


def is_queued_by_run(instance: dg.DagsterInstance) -> bool:
    """Whether the pools of an instance count runs, as in the shipped dagster.yaml, not steps."""
    granularity = instance.get_concurrency_config().pool_config.pool_granularity
    return granularity is not None and granularity.value == "run"


def seats() -> list[Seat]:
    """What can be leased on this machine: each GPU that this process may use.

    `TRAITVEC_GPUS` names the seats instead, with a blank between them: `0 1` for a GPU each, `0,1
    2,3` for two each; set and empty, it switches leases off. A `CUDA_VISIBLE_DEVICES` that is set
    already is never left: its names are the seats.

    Raises:
        TraitvecError: If none of the named seats lies within the mask.
    """
    named = os.environ.get(SEATS_VARIABLE)
    mask = _mask()
    if named is not None:
        names = named.split()
        inside = [n for n in names if mask is None or set(n.split(",")) <= set(mask)]
        if names and not inside:
            raise TraitvecError(
                f"{SEATS_VARIABLE}={named!r} names no GPU of {_MASK}={os.environ[_MASK]!r}; name"
                " some of those, or unset one of the two"
            )
        return [_seat(name) for name in inside]
    found = [str(index) for index in range(len(_uuids()))] if mask is None else mask
    if not found:
        home = os.environ.get("DAGSTER_HOME")
        return [Seat(_CPU, (Path(home, "locks", "cpu.lock") if home else _locks() / "cpu.lock",))]
    return [_seat(name) for name in found]


def holder_of(seat: Seat) -> str | None:
    """Who holds a seat, or None if it is free."""
    for path in seat.locks:
        try:
            with path.open("rb") as file:
                try:
                    # Shared, so that those who look do not get into each other's way.
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _who(file.read())
        except FileNotFoundError:
            continue
    return None


class _Held:
    """What this process holds."""

    seat: Seat | None = None
    home: str | None = None
    files: tuple[TextIO, ...] = ()


def _take(seat: Seat) -> bool:
    """Lock all files of a seat, or none."""
    taken: list[TextIO] = []
    for path in seat.locks:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            for other in (file, *taken):
                other.close()
            return False
        taken.append(file)
    _Held.seat, _Held.files = seat, tuple(taken)
    return True


def _give_back(step: Step, unload: Callable[[], None]) -> None:
    if _Held.seat is not None:
        unload()
        _empty_gpu()
        step.say(f"gives GPU {_Held.seat.name} back")
        _leave()


def _leave() -> None:
    for file in _Held.files:
        file.close()
    _Held.seat, _Held.files = None, ()


# A forked child shares the lock, and would keep it when this process is killed.
os.register_at_fork(after_in_child=_leave)


def _mask() -> list[str] | None:
    """The GPUs that this process was left with, or None where there is no limit."""
    mask = os.environ.get(_MASK)
    if mask is None:
        return None
    names = [name.strip() for name in mask.split(",")]
    # CUDA reads up to the first that it does not know.
    return names[: next((i for i, name in enumerate(names) if name in {"", "-1"}), len(names))]


def _seat(name: str) -> Seat:
    files = {re.sub(r"[^\w.-]", "_", _uuid_of(gpu)) for gpu in name.split(",")}
    return Seat(name, tuple(_locks() / f"gpu-{file}.lock" for file in sorted(files)))


def _uuid_of(gpu: str) -> str:
    """One name for a GPU that is called by its number here and by its id there."""
    if gpu.isdecimal() and int(gpu) < len(_uuids()):
        return _uuids()[int(gpu)]
    return gpu


@cache
def _uuids() -> tuple[str, ...]:
    """The NVIDIA GPUs of this machine; torch is not asked, because that could start CUDA."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.startswith("GPU-"))


def _locks() -> Path:
    """GPUs are the machine's, not a project's; another user's files could not be locked."""
    folder = Path(tempfile.gettempdir()) / f"traitvec-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise TraitvecError(f"{folder} belongs to another user; set TMPDIR to a folder of yours")
    return folder


def _is_bound() -> bool:
    """Whether CUDA has started in this process without a seat: it is too late for one."""
    torch = sys.modules.get("torch")
    return _Held.home is None and torch is not None and torch.cuda.is_initialized()


def _empty_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _told(seat: Seat) -> str:
    what = "the CPU" if seat.name == _CPU else f"GPU {seat.name}"
    return f"{what}, which has {holder_of(seat) or 'another process'}"


def _who(data: bytes) -> str:
    try:
        told = json.loads(data)
        return f"{told['owner']} (process {told['pid']}, since {told['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
