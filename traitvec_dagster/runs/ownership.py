"""Which process owns a run, and what happens to runs whose process is gone."""

import os
import socket
import time
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

__all__ = ["GPUS_TAG", "HOST_TAG", "PID_TAG", "close_dead_runs", "process_tags", "sign_run"]


HOST_TAG, PID_TAG, GPUS_TAG = "traitvec/host", "traitvec/pid", "traitvec/gpus"


# A run and its process do not begin in the same moment, and clocks are set.
_SLACK_S = 60.0


def process_tags() -> dict[str, str]:
    """Tags of a run that say which process works at it, for `close_dead_runs`."""
    return {HOST_TAG: socket.gethostname(), PID_TAG: str(os.getpid())}


def sign_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Write into a run's tags which process works at it, for `close_dead_runs`.

    Args:
        instance: The instance.
        run: The run, as it was when it began.
    """
    if process_tags().items() - run.tags.items():
        instance.add_run_tags(run.run_id, process_tags())


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process on this machine is gone, and free what they held.

    Nobody else would: Dagster's code server sees the death of a run that it started, but not when
    it has died too, and nobody watches a run of `traitvec run`.

    Returns:
        The ids of the runs that were closed.
    """
    closed = []
    open_states = [
        DagsterRunStatus.STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.NOT_STARTED,
    ]
    for record in instance.get_run_records(
        RunsFilter(tags={HOST_TAG: socket.gethostname()}, statuses=open_states)
    ):
        run = record.dagster_run
        pid = _process_of(instance, run)
        if pid is None or _is_alive(pid, record.start_time):
            continue
        instance.report_run_failed(
            run, "The process of this run is gone; finished work is kept. Run it again to go on."
        )
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The process that works at a run; None if it is not known."""
    pid = run.tags.get(PID_TAG, "")
    if run.remote_job_origin is not None:
        # Started by the UI or the daemon. Its tags may be a user's, or those of the run that it
        # repeats; Dagster itself tells of the process.
        told = instance.all_logs(run.run_id, DagsterEventType.ENGINE_EVENT)
        if not any(f"(pid: {pid})" in entry.message for entry in told):
            return None
    return int(pid) if pid.isdecimal() else None


def _is_alive(pid: int, started: float | None) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    age_s = _age_s(pid)
    if started is None or age_s is None:
        return True
    # After a reboot the number may be that of another process, which is younger than the run.
    return age_s + _SLACK_S > time.time() - started


def _age_s(pid: int) -> float | None:
    """How long a process has lived, where the system says so in /proc."""
    try:
        began = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        up_s = Path("/proc/uptime").read_text().split()[0]
    except (OSError, IndexError):
        return None
    return float(up_s) - int(began) / os.sysconf("SC_CLK_TCK")
