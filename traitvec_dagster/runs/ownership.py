"""Which process owns a run, and closing the runs whose process is gone."""

import os
import socket
import time
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

__all__ = ["GPUS_TAG", "HOST_TAG", "PID_TAG", "close_dead_runs", "process_tags", "sign_run"]

HOST_TAG, PID_TAG, GPUS_TAG = "traitvec/host", "traitvec/pid", "traitvec/gpus"
# A run and its process do not start at the same moment, and clocks get adjusted.
_SLACK_S = 60.0


def process_tags() -> dict[str, str]:
    """Return tags that name this process as the owner of a run, for `close_dead_runs`."""
    return {HOST_TAG: socket.gethostname(), PID_TAG: str(os.getpid())}


def sign_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run with the process that executes it, for `close_dead_runs`.

    Args:
        instance: The Dagster instance.
        run: The run as it was when it started.
    """
    if process_tags().items() - run.tags.items():
        instance.add_run_tags(run.run_id, process_tags())


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
    ]
    for record in instance.get_run_records(
        RunsFilter(tags={HOST_TAG: socket.gethostname()}, statuses=open_states)
    ):
        run = record.dagster_run
        pid = _process_of(instance, run)
        if pid is None or _is_alive(pid, record.start_time):
            continue
        instance.report_run_failed(
            run, "The process of this run is gone; finished work is kept. Run it again to continue."
        )
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The process that executes a run; None if unknown."""
    pid = run.tags.get(PID_TAG, "")
    if run.remote_job_origin is not None:
        # Started by the UI or the daemon. Its tags may come from a user, or from the run that it
        # repeats, so the process must also be in Dagster's own log.
        entries = instance.all_logs(run.run_id, DagsterEventType.ENGINE_EVENT)
        if not any(f"(pid: {pid})" in entry.message for entry in entries):
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
    # After a reboot another process may have this number; it is younger than the run.
    return age_s + _SLACK_S > time.time() - started


def _age_s(pid: int) -> float | None:
    """The age of a process in seconds; None on systems without /proc."""
    try:
        start_ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        up_s = Path("/proc/uptime").read_text().split()[0]
    except (OSError, IndexError):
        return None
    return float(up_s) - int(start_ticks) / os.sysconf("SC_CLK_TCK")
