"""Several traits at once: a process for each share of the GPUs, which keeps its models.

Every trait is a Dagster run of its own, as with one process. A process takes the next trait when it
has finished one, the longest first, so that a model is loaded once for each process.
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
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.graph.resources import set_progress_sink
from traitvec_dagster.project import Project
from traitvec_dagster.runs.headless import TraitRun, run_trait, select_stages

__all__ = ["ProgressEvent", "allow_at_once", "longest_first", "run_traits", "shares_of_gpus"]

_POOL = "gpu"


@dataclass(frozen=True)
class ProgressEvent:
    """What a process tells of its work.

    Attributes:
        process: Its number in the system.
        trait: The trait that it works at.
        stage: The stage, or None for a line of text.
        done: What is done of it.
        total: Of how much.
        text: What there is to say besides.
    """

    process: int
    trait: str
    stage: Stage | None
    done: int = 0
    total: int = 0
    text: str = ""


def run_traits(
    project: Project,
    experiment: str,
    traits: Sequence[str],
    *,
    selection: str,
    overrides: Mapping[str, Any],
    shares: Sequence[str | None],
    on_event: Callable[[ProgressEvent], None],
) -> Iterator[TraitRun]:
    """Run traits in as many processes as there are shares; yields each as it ends.

    Args:
        project: The project.
        experiment: The experiment.
        traits: In the order in which they are begun.
        selection: Stages, as in `select_stages`.
        overrides: Settings in place of the experiment's.
        shares: For each process its `CUDA_VISIBLE_DEVICES`, or None to leave that as it is.
        on_event: Called from another thread with the progress of each process.
    """
    # Forked, a process would inherit threads that it does not have.
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // len(shares))
    with (
        _listening(shares, on_event) as address,
        ProcessPoolExecutor(
            len(shares), spawn, _begin, (address, project.experiments, threads)
        ) as pool,
    ):
        asked: dict[Future[TraitRun], str] = {
            pool.submit(_run, experiment, trait, selection, dict(overrides)): trait
            for trait in traits
        }
        try:
            for future in as_completed(asked):
                yield _result(future, asked[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def shares_of_gpus(processes: int) -> list[str | None]:
    """Deal the GPUs that this process sees to a number of processes, one or more for each.

    Raises:
        TraitvecError: If there are GPUs, but fewer than processes.
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
            f"--parallel {processes} wants a GPU for each process, and {len(visible)} can be seen"
            " (CUDA_VISIBLE_DEVICES); ask for fewer"
        )
    return [",".join(visible[i::processes]) for i in range(processes)]


def longest_first(folder: ExperimentFolder, traits: Sequence[str]) -> list[str]:
    """Order traits by what their last runs took; those that never ran come first."""

    def seconds(trait: str) -> float:
        made = [folder.trait(trait).provenance(stage) for stage in STAGES[1:]]
        known = [provenance.cost.seconds for provenance in made if provenance is not None]
        return sum(known) if known else float("inf")

    return sorted(traits, key=seconds, reverse=True)


def allow_at_once(instance: dg.DagsterInstance, processes: int) -> bool:
    """Let that many steps hold the pool of GPUs; returns whether its limit had to be raised."""
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
    """Give each process that calls its share, and hear what it tells; gives the address.

    A connection for each, because a queue that they share would stay locked when one is killed.
    """
    left = list(shares)
    with Listener(authkey=current_process().authkey) as listener:

        def welcome() -> None:
            while True:
                with suppress(OSError, EOFError, AuthenticationError):
                    connection = listener.accept()
                    if not left:
                        return
                    connection.send(left.pop())
                    Thread(target=_hear, args=(connection, on_event), daemon=True).start()

        welcoming = Thread(target=welcome, daemon=True)
        welcoming.start()
        address = str(listener.address)
        try:
            yield address
        finally:
            # `accept` does not wake up by itself.
            left.clear()
            with suppress(OSError, EOFError):
                Client(address, authkey=current_process().authkey).close()
            welcoming.join(timeout=5)


def _hear(connection: Connection, on_event: Callable[[ProgressEvent], None]) -> None:
    with connection, suppress(OSError, EOFError):
        while True:
            on_event(connection.recv())


def _result(future: "Future[TraitRun]", trait: str) -> TraitRun:
    try:
        return future.result()
    except BrokenProcessPool:
        problem = (
            "a process was killed, perhaps for want of memory, and took the others with it; what"
            " is finished is kept, run again to go on (with a smaller --parallel)"
        )
    return TraitRun(trait, "", is_success=False, problems=[problem])


# -- in a process of its own ------------------------------------------------------------------


@dataclass
class _Here:
    """This process's project and its way to tell of its work."""

    project: Project
    instance: dg.DagsterInstance
    news: Connection


_here: _Here | None = None


def _begin(address: str, experiments: Path, threads: int) -> None:
    global _here  # noqa: PLW0603  # a process has one project
    news = Client(address, authkey=current_process().authkey)
    share = news.recv()
    if share is not None:
        # Before torch is imported: it looks once.
        os.environ["CUDA_VISIBLE_DEVICES"] = share
    # All of its share at once, or none if there is nothing to share.
    os.environ["TRAITVEC_GPUS"] = share or ""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    project = Project(experiments)
    _here = _Here(project, project.instance(), news)


def _run(experiment: str, trait: str, selection: str, overrides: dict[str, Any]) -> TraitRun:
    assert _here is not None  # noqa: S101  # `_begin` came first
    set_progress_sink(_Sink(trait, _here.news))
    try:
        stages = select_stages(_here.project, experiment, selection)
        return run_trait(
            _here.project, _here.instance, experiment, trait, select=stages, overrides=overrides
        )
    except TraitvecError as error:
        # Not every error of ours survives the way to the other process.
        return TraitRun(trait, "", is_success=False, problems=[str(error)])
    finally:
        set_progress_sink(None)


@dataclass(frozen=True)
class _Sink:
    trait: str
    news: Connection

    def __call__(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        self.news.send(ProgressEvent(os.getpid(), self.trait, stage, done, total, note))

    def say(self, text: str) -> None:
        self.news.send(ProgressEvent(os.getpid(), self.trait, None, text=text))
