"""One GPU per run: a lock file for each GPU, which the kernel releases when the process ends.

A process takes a GPU when it first loads a model. It keeps the GPU and the model until no later
step of its run needs one, or until a step calls an API. A machine without a GPU has one seat, the
CPU, which is held for one step at a time.
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
    """What one run leases: one or more GPUs, or the CPU.

    Attributes:
        name: Value for `CUDA_VISIBLE_DEVICES`, or `cpu`.
        locks: Lock files, one per GPU, sorted.
    """

    name: str
    locks: tuple[Path, ...]


@dataclass(frozen=True)
class Step:
    """One step of a run, and how it gets its seat.

    Attributes:
        owner: Names the run in messages of the processes that wait for its seat.
        say: Called with a line of text when the step waits for a seat, takes or releases it.
        on_seat: Called with the name of the GPU that the step got.
        keeps_gpu: Whether the process keeps the GPU and the models for its next step. Only a run
            that holds its slot in the pool from start to end may: otherwise a run with the GPU and
            a run with the slot would wait for each other.
    """

    owner: str
    say: Callable[[str], None]
    on_seat: Callable[[str], None]
    keeps_gpu: bool

    def take_seat(self) -> None:
        """Wait for a GPU and hide all others from this process. Call before loading a model.

        Does nothing if the process has a seat already.

        Raises:
            TraitvecError: If `TRAITVEC_GPUS` names no GPU that this process may use.
        """
        if _Held.seat is not None or _is_bound():
            return
        # A process whose CUDA has started cannot move to another GPU.
        candidates = [seat for seat in seats() if _Held.home in {None, seat.name}]
        if not candidates:
            return
        has_reported = False
        while (taken := next(filter(_take, candidates), None)) is None:
            if not has_reported:
                has_reported = True
                self.say("waiting for " + "; ".join(map(_seat_and_holder, candidates)))
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
            self.say(f"using GPU {taken.name}")
            self.on_seat(taken.name)


@contextmanager
def step_at(place: Place, step: Step, unload: Callable[[], None]) -> Iterator[Step]:
    """Run a step inside this context. A step that calls an API releases the GPU first.

    Args:
        place: Where the step's work happens.
        step: The step.
        unload: Drops the loaded models.
    """
    if place == "elsewhere":
        _release_gpu(step, unload)
    try:
        yield step
    finally:
        if _Held.seat is not None and _Held.seat.name == _CPU:
            # Loaded models can stay: main memory is not leased.
            _unlock()
        elif not step.keeps_gpu:
            _release_gpu(step, unload)


def is_queued_by_run(instance: dg.DagsterInstance) -> bool:
    """Whether an instance's pools count runs, as in the shipped dagster.yaml, rather than steps."""
    granularity = instance.get_concurrency_config().pool_config.pool_granularity
    return granularity is not None and granularity.value == "run"


def seats() -> list[Seat]:
    """Return the seats of this machine: by default one for each GPU that this process may use.

    `TRAITVEC_GPUS` lists the seats explicitly, separated by spaces: `0 1` for two seats with one
    GPU each, `0,1 2,3` for two seats with two each. Set but empty, it switches leases off. Only
    GPUs in `CUDA_VISIBLE_DEVICES`, if that is set, are ever used.

    Raises:
        TraitvecError: If no seat of `TRAITVEC_GPUS` is within `CUDA_VISIBLE_DEVICES`.
    """
    chosen = os.environ.get(SEATS_VARIABLE)
    mask = _mask()
    if chosen is not None:
        names = chosen.split()
        usable = [n for n in names if mask is None or set(n.split(",")) <= set(mask)]
        if names and not usable:
            raise TraitvecError(
                f"{SEATS_VARIABLE}={chosen!r} names no GPU of {_MASK}={os.environ[_MASK]!r}; name"
                " GPUs from that list, or unset one of the two variables"
            )
        return [_seat(name) for name in usable]
    gpus = [str(index) for index in range(len(_uuids()))] if mask is None else mask
    if not gpus:
        home = os.environ.get("DAGSTER_HOME")
        return [Seat(_CPU, (Path(home, "locks", "cpu.lock") if home else _locks() / "cpu.lock",))]
    return [_seat(name) for name in gpus]


def holder_of(seat: Seat) -> str | None:
    """Return the run and process that hold a seat, or None if it is free."""
    for path in seat.locks:
        try:
            with path.open("rb") as file:
                try:
                    # Shared, so that several processes can look at the same time.
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _describe_holder(file.read())
        except FileNotFoundError:
            continue
    return None


class _Held:
    """The seat that this process holds, and the GPU that its CUDA is bound to."""

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


def _release_gpu(step: Step, unload: Callable[[], None]) -> None:
    if _Held.seat is not None:
        unload()
        _empty_gpu()
        step.say(f"released GPU {_Held.seat.name}")
        _unlock()


def _unlock() -> None:
    for file in _Held.files:
        file.close()
    _Held.seat, _Held.files = None, ()


# A forked child shares the lock, and would keep it when this process is killed.
os.register_at_fork(after_in_child=_unlock)


def _mask() -> list[str] | None:
    """The GPUs of `CUDA_VISIBLE_DEVICES`, or None if it is not set."""
    mask = os.environ.get(_MASK)
    if mask is None:
        return None
    names = [name.strip() for name in mask.split(",")]
    # CUDA stops reading at the first invalid entry.
    return names[: next((i for i, name in enumerate(names) if name in {"", "-1"}), len(names))]


def _seat(name: str) -> Seat:
    files = {re.sub(r"[^\w.-]", "_", _uuid_of(gpu)) for gpu in name.split(",")}
    return Seat(name, tuple(_locks() / f"gpu-{file}.lock" for file in sorted(files)))


def _uuid_of(gpu: str) -> str:
    """The same name for a GPU, whether it is given by number or by id."""
    if gpu.isdecimal() and int(gpu) < len(_uuids()):
        return _uuids()[int(gpu)]
    return gpu


@cache
def _uuids() -> tuple[str, ...]:
    """The ids of this machine's NVIDIA GPUs. Not from torch, which could start CUDA."""
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
    """The folder of the lock files: one per user, because GPUs are shared by all projects."""
    folder = Path(tempfile.gettempdir()) / f"traitvec-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise TraitvecError(f"{folder} belongs to another user; set TMPDIR to your own folder")
    return folder


def _is_bound() -> bool:
    """Whether CUDA has started in this process without a seat; then it is too late to take one."""
    torch = sys.modules.get("torch")
    return _Held.home is None and torch is not None and torch.cuda.is_initialized()


def _empty_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _seat_and_holder(seat: Seat) -> str:
    name = "the CPU" if seat.name == _CPU else f"GPU {seat.name}"
    return f"{name}, held by {holder_of(seat) or 'another process'}"


def _describe_holder(data: bytes) -> str:
    try:
        lock = json.loads(data)
        return f"{lock['owner']} (process {lock['pid']}, since {lock['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
