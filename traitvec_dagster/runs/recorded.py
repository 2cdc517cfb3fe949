"""A run of a job in this process, recorded as the UI records its own.

`JobDefinition.execute_in_process` records no code location. The timeline then leaves the run out,
the run's page has no link to its job, and nothing can be re-executed.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run_iterator
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from traitvec_dagster.project import LOCATION_NAME

__all__ = ["create_run", "execute_run"]

_REPOSITORY = "__repository__"
_POLL_S = 2.0


def create_run(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    partition: str,
    select: Sequence[dg.AssetKey],
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
) -> tuple[dg.JobDefinition, dg.DagsterRun]:
    """Record a run of some assets of a job, for `execute_run`.

    Args:
        instance: The Dagster instance.
        job: The job, as it is in the code location.
        partition: The run's partition, which the instance has.
        select: The job's assets to make.
        run_config: The run's config.
        tags: The run's tags, besides those of its partition.

    Returns:
        The job as this process executes it, and its run.
    """
    here = job.as_ephemeral_job(resource_defs={}, input_values={}, asset_selection=select)
    of_partition = job.get_tags_for_partition_key(partition, selected_asset_keys=select)
    run = instance.create_run_for_job(
        here,
        execution_plan=create_execution_plan(
            InMemoryJob(here), run_config=run_config, instance_ref=instance.get_ref()
        ),
        run_config=run_config,
        tags={**job.run_tags, **tags, **of_partition},
        asset_selection=frozenset(select),
        remote_job_origin=_origin(job.name),
    )
    return here, run


def execute_run(
    instance: dg.DagsterInstance, job: dg.JobDefinition, run: dg.DagsterRun
) -> Iterator[dg.DagsterEvent]:
    """Execute a run of `create_run` in this process; yields its events.

    "Terminate" on its page ends it, as Ctrl-C would; the run is then cancelled.
    """
    with _interrupted_on_request(instance, run.run_id):
        yield from execute_run_iterator(InMemoryJob(job), run, instance)


@contextmanager
def _interrupted_on_request(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Interrupt this process' main thread when somebody asks Dagster to cancel a run.

    Dagster interrupts the processes that its code server has started, and no others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    has_ended, sending = threading.Event(), threading.Lock()

    def watch() -> None:
        while not has_ended.wait(_POLL_S):
            # A database that cannot be reached now is asked again.
            with suppress(Exception):
                run = instance.get_run_by_id(run_id)
                if run is not None and run.status == dg.DagsterRunStatus.CANCELING:
                    with sending:
                        if not has_ended.is_set():
                            os.kill(os.getpid(), signal.SIGINT)
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with sending:
            has_ended.set()
        watcher.join()


def _origin(job: str) -> RemoteJobOrigin:
    location = RegisteredCodeLocationOrigin(LOCATION_NAME)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, _REPOSITORY), job)
