"""Which traits have a run that is queued or running."""

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from traitvec_dagster.graph.names import Graph
from traitvec_dagster.runs.ownership import close_dead_runs

__all__ = ["traits_in_progress"]

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def traits_in_progress(instance: dg.DagsterInstance, graph: Graph) -> set[str]:
    """Return the traits that have a queued or running run, whatever started it.

    First closes runs whose process on this machine is gone.
    """
    close_dead_runs(instance)
    traits = set()
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        keys = run.asset_selection or ()
        is_ours = run.job_name in graph.jobs
        trait = run.tags.get("dagster/partition")
        if trait and (is_ours or any(key.path[0] == graph.experiment for key in keys)):
            traits.add(trait)
    return traits
