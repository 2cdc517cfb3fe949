"""Which process owns a run, closing the runs whose process is gone, and ending runs on request.

No clock decides it: a run's tags name the process by its number, the boot of the machine and the
clock tick at which the kernel started it. Dagster's pages hide tags that begin with `.dagster/`.
"""

import os
import socket

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from traitvec_core.storage.processes import is_alive, process_start

__all__ = [
    "EXPERIMENT_TAG", "GPUS_TAG", "HOST_TAG", "PID_TAG", "START_TAG", "close_dead_runs",
    "process_tags", "sign_run",
]  # fmt: skip

# The list of runs shows these tags, besides the partition, which is the trait.
EXPERIMENT_TAG, GPUS_TAG = "traitvec/experiment", "traitvec/gpus"
# Dagster's pages hide tags that start with a dot.
HOST_TAG, PID_TAG = ".dagster/traitvec_host", ".dagster/traitvec_pid"
START_TAG = ".dagster/traitvec_process_start"


def process_tags() -> dict[str, str]:
    """Return tags that name this process as the owner of a run, for `close_dead_runs`."""
    start = process_start(os.getpid())
    return {
        HOST_TAG: socket.gethostname(),
        PID_TAG: str(os.getpid()),
        # Empty where the system does not say; a tag of an earlier owner must not stay.
        START_TAG: start or "",
    }


def sign_run(instance: dg.DagsterInstance, run: dg.DagsterRun, experiment: str) -> None:
    """Tag a run with its experiment, and with the process that executes it.

    Args:
        instance: The Dagster instance.
        run: The run as it was when it started.
        experiment: The experiment. A run of selected assets has no job that would say it.
    """
    tags = {EXPERIMENT_TAG: experiment, **process_tags()}
    if tags.items() - run.tags.items():
        instance.add_run_tags(run.run_id, tags)


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process on this machine is gone as failed, and free their pool slots.

    Dagster does not do this itself in two cases: its code server notices the death of a run that
    it started, but not if it died as well, and nothing watches a run of `traitvec run`.

    Returns:
        The ids of the closed runs.
    """
    closed = []
    open_states = [
        DagsterRunStatus.STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.CANCELING,
    ]
    for record in instance.get_run_records(
        RunsFilter(tags={HOST_TAG: socket.gethostname()}, statuses=open_states)
    ):
        run = record.dagster_run
        pid = _process_of(instance, run)
        # After a reboot another process may have this number.
        if pid is None or is_alive(pid, run.tags.get(START_TAG) or None):
            continue
        says = "The process of this run is gone; finished work is kept. Run it again to continue."
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, says)
        else:
            instance.report_run_failed(run, says)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The process that executes a run; None if unknown."""
    pid = run.tags.get(PID_TAG, "")
    if run.job_code_origin is not None:
        # Started by the UI or the daemon, whose runs name the code to load. Its tags may come from
        # a user, or from the run that it repeats: the process must be in Dagster's own log, too.
        entries = instance.all_logs(run.run_id, DagsterEventType.ENGINE_EVENT)
        if not any(f"(pid: {pid})" in entry.message for entry in entries):
            return None
    return int(pid) if pid.isdecimal() else None
