"""What is left to say about a run that was killed, cancelled or given up, from outside of it."""

from collections.abc import Sequence

import dagster as dg

from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.check_events import keep_verdicts
from traitvec_dagster.graph.failures import NO_PROBLEM, PROBLEM_TAG, tag_problem
from traitvec_dagster.graph.names import Graph

__all__ = ["build_ended_run_sensors", "settle_run"]

_INTERVAL_S = 10
_SENSORS = {
    "failed_runs": dg.DagsterRunStatus.FAILURE,
    "cancelled_runs": dg.DagsterRunStatus.CANCELED,
}


def build_ended_run_sensors(graphs: Sequence[Graph], prefix: str = "") -> list[dg.SensorDefinition]:
    """Build the sensors that settle runs of experiments that failed or were cancelled.

    Args:
        graphs: The experiments.
        prefix: What the sensors' names begin with.
    """
    return [_build_sensor(f"{prefix}{name}", status, graphs) for name, status in _SENSORS.items()]


def settle_run(instance: dg.DagsterInstance, run: dg.DagsterRun, problem: str = "") -> None:
    """Store the last verdicts again of checks that an ended run did not reach.

    A run that fails by itself does it itself, so there is nothing left to do.

    Args:
        instance: The Dagster instance.
        run: The run, which has ended.
        problem: What ended it. The run's tag shows it, unless the run has said it itself.
    """
    never = keep_verdicts(instance, run)
    if never:
        names = ", ".join(sorted(key.name for key in never))
        instance.report_engine_event(
            f"The run ended before these checks, which have no earlier verdict: {names}", run
        )
    if problem and run.tags.get(PROBLEM_TAG, NO_PROBLEM) == NO_PROBLEM:
        tag_problem(instance, run, problem)


def _build_sensor(
    name: str, status: dg.DagsterRunStatus, graphs: Sequence[Graph]
) -> dg.SensorDefinition:
    jobs = {job for graph in graphs for job in graph.jobs}
    experiments = {graph.experiment for graph in graphs}

    @dg.run_status_sensor(
        name=name,
        run_status=status,
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Checks that a killed or cancelled run did not reach keep their last verdicts.",
    )
    def ended_run(context: dg.RunStatusSensorContext) -> None:
        is_failed = status == dg.DagsterRunStatus.FAILURE
        # As it is now: its process may have tagged it at the end.
        run = context.instance.get_run_by_id(context.dagster_run.run_id)
        if run is not None and (run.job_name in jobs or experiments & _selected(run)):
            problem = one_line(context.dagster_event.message or "") if is_failed else ""
            settle_run(context.instance, run, problem)

    return ended_run


def _selected(run: dg.DagsterRun) -> set[str]:
    """The first parts of the keys of a run's assets: experiments, or others of the location."""
    keys = [*(run.asset_selection or ())]
    keys += [check.asset_key for check in run.asset_check_selection or ()]
    return {key.path[0] for key in keys}
