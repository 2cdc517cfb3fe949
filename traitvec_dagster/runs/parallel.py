"""Run several traits at once, in one process per share of the GPUs.

Every trait is its own Dagster run, as with one process. A process that finishes a trait takes the
next one, the longest first. It keeps its models, so each process loads them once.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError, current_process
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.context import SecondsLeft
from traitvec_core.stages.redo import Redo
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.graph.resources import set_progress_sink
from traitvec_dagster.project import Project
from traitvec_dagster.runs.headless import TraitRun, run_trait, select_stages

__all__ = ["ProgressEvent", "longest_first", "raise_pool_limit", "run_traits", "split_gpus"]

_POOL = "gpu"


@dataclass(frozen=True)
class ProgressEvent:
    """Progress of one process.

    Attributes:
        process: Process id.
        trait: The trait that it runs.
        stage: The stage, or None if the event is only a line of text.
        done: Finished items of the stage.
        total: All items of the stage.
        left_s: The time left in seconds; see `SecondsLeft`.
        text: A note on the progress, or the line of text.
    """

    process: int
    trait: str
    stage: Stage | None
    done: int = 0
    total: int = 0
    text: str = ""
    left_s: SecondsLeft = "by rate"


def run_traits(
    project: Project,
    experiment: str,
    traits: Sequence[str],
    *,
    selection: str,
    overrides: Mapping[str, Any],
    shares: Sequence[str | None],
    on_event: Callable[[ProgressEvent], None],
    redo: Redo = Redo(),
) -> Iterator[TraitRun]:
    """Run traits in one process per share; yields each result as soon as its run ends.

    Args:
        project: The project.
        experiment: The experiment.
        traits: The traits, in the order in which to start them.
        selection: Stages, in the syntax of `select_stages`.
        overrides: Settings that replace those of experiment.yaml.
        shares: `CUDA_VISIBLE_DEVICES` of each process, or None to leave it unchanged.
        on_event: Called from another thread with the progress of each process.
        redo: Selected stages to make again although they are fresh.
    """
    # A forked process would inherit locks of threads that it does not have.
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // len(shares))
    with (
        _listening(shares, on_event) as address,
        ProcessPoolExecutor(
            len(shares), spawn, _start_worker, (address, project.experiments, threads)
        ) as pool,
    ):
        futures: dict[Future[TraitRun], str] = {
            pool.submit(_run, experiment, trait, selection, dict(overrides), redo): trait
            for trait in traits
        }
        try:
            for future in as_completed(futures):
                yield _result(future, futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def split_gpus(processes: int) -> list[str | None]:
    """Split the visible GPUs between processes; returns `CUDA_VISIBLE_DEVICES` of each.

    Without a GPU, every process gets None.

    Raises:
        TraitvecError: If there are fewer GPUs than processes.
    """
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        import torch

        visible = [str(i) for i in range(torch.cuda.device_count())]
    else:
        visible = [device.strip() for device in mask.split(",") if device.strip()]
    if not visible:
        return [None] * processes
    if len(visible) < processes:
        raise TraitvecError(
            f"--parallel {processes} needs one GPU per process, but only {len(visible)} can be seen"
            " (CUDA_VISIBLE_DEVICES); use a smaller number"
        )
    return [",".join(visible[i::processes]) for i in range(processes)]


def longest_first(folder: ExperimentFolder, traits: Sequence[str]) -> list[str]:
    """Return traits ordered by the time of their last runs; those that never ran come first."""

    def seconds(trait: str) -> float:
        records = [folder.trait(trait).provenance(stage) for stage in STAGES[1:]]
        known = [record.cost.seconds for record in records if record is not None]
        return sum(known) if known else float("inf")

    return sorted(traits, key=seconds, reverse=True)


def raise_pool_limit(instance: dg.DagsterInstance, processes: int) -> bool:
    """Let that many steps use the pool `gpu` at once; returns whether its limit had to change."""
    storage = instance.event_log_storage
    limits = {limit.name: limit.limit for limit in storage.get_pool_limits()}
    limit = limits.get(_POOL, instance.global_op_concurrency_default_limit)
    if limit is None or limit >= processes:
        return False
    storage.set_concurrency_slots(_POOL, processes)
    return True


@contextmanager
def _listening(
    shares: Sequence[str | None], on_event: Callable[[ProgressEvent], None]
) -> Iterator[str]:
    """Send each process that connects its share, and receive its progress; yields the address.

    Each process has its own connection: a shared queue would stay locked if one was killed.
    """
    left = list(shares)
    with Listener(authkey=current_process().authkey) as listener:

        def accept_all() -> None:
            while True:
                with suppress(OSError, EOFError, AuthenticationError):
                    connection = listener.accept()
                    if not left:
                        return
                    connection.send(left.pop())
                    Thread(target=_receive, args=(connection, on_event), daemon=True).start()

        acceptor = Thread(target=accept_all, daemon=True)
        acceptor.start()
        address = str(listener.address)
        try:
            yield address
        finally:
            # `accept` blocks until somebody connects.
            left.clear()
            with suppress(OSError, EOFError):
                Client(address, authkey=current_process().authkey).close()
            acceptor.join(timeout=5)


def _receive(connection: Connection, on_event: Callable[[ProgressEvent], None]) -> None:
    with connection, suppress(OSError, EOFError):
        while True:
            on_event(connection.recv())


def _result(future: "Future[TraitRun]", trait: str) -> TraitRun:
    try:
        return future.result()
    except BrokenProcessPool:
        problem = (
            "a process was killed, perhaps because memory ran out, and the others were stopped;"
            " finished work is kept, run again with a smaller --parallel to continue"
        )
    return TraitRun(trait, "", is_success=False, problems=[problem])


# -- inside a worker process ------------------------------------------------------------------


@dataclass
class _Worker:
    """The project of a worker process, and its connection to the parent."""

    project: Project
    instance: dg.DagsterInstance
    connection: Connection


_worker: _Worker | None = None


def _start_worker(address: str, experiments: Path, threads: int) -> None:
    global _worker  # noqa: PLW0603  # a process has one project
    connection = Client(address, authkey=current_process().authkey)
    share = connection.recv()
    if share is not None:
        # Before torch is imported: it reads this only once.
        os.environ["CUDA_VISIBLE_DEVICES"] = share
    # One seat for the whole share; empty switches leases off.
    os.environ["TRAITVEC_GPUS"] = share or ""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    project = Project(experiments)
    _worker = _Worker(project, project.instance(), connection)


def _run(
    experiment: str, trait: str, selection: str, overrides: dict[str, Any], redo: Redo
) -> TraitRun:
    assert _worker is not None  # noqa: S101  # `_start_worker` came first
    set_progress_sink(_Sink(trait, _worker.connection))
    try:
        stages = select_stages(_worker.project, experiment, selection)
        return run_trait(
            _worker.project, _worker.instance, experiment, trait,
            select=stages, overrides=overrides, redo=redo,
        )  # fmt: skip
    except TraitvecError as error:
        # Not every TraitvecError can be pickled to the parent.
        return TraitRun(trait, "", is_success=False, problems=[str(error)])
    finally:
        set_progress_sink(None)


@dataclass(frozen=True)
class _Sink:
    trait: str
    connection: Connection

    def __call__(
        self,
        stage: Stage,
        done: int,
        total: int,
        note: str = "",
        *,
        left_s: SecondsLeft = "by rate",
    ) -> None:
        event = ProgressEvent(os.getpid(), self.trait, stage, done, total, note, left_s)
        self.connection.send(event)

    def say(self, text: str) -> None:
        self.connection.send(ProgressEvent(os.getpid(), self.trait, None, text=text))
