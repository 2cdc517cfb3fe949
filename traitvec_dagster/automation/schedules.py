"""The schedule that reruns every trait of an experiment."""

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_dagster.automation.settings import usable_settings
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.graph.names import Graph

__all__ = ["build_schedules"]


def build_schedules(graph: Graph) -> list[dg.ScheduleDefinition]:
    """Build the schedule of an experiment; empty if its settings have none.

    New times take effect after "Reload definitions". `enabled: false` takes effect at once.
    """
    settings = usable_settings(graph)
    if settings is None or settings.schedule is None:
        return []

    try:

        @dg.schedule(
            name=f"{graph.python_name}_rerun",
            job_name=graph.job,
            cron_schedule=settings.schedule.cron,
            execution_timezone=settings.schedule.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING
            if settings.schedule.enabled
            else dg.DefaultScheduleStatus.STOPPED,
            description=f"Reruns every trait of {graph.experiment} that is not already running.",
        )
        def rerun(
            context: dg.ScheduleEvaluationContext,
        ) -> list[dg.RunRequest] | dg.SkipReason:
            return _scheduled_runs(graph, context)

    except dg.DagsterInvalidDefinitionError as error:
        # A mistake in one experiment must not stop the others from loading.
        dg.get_dagster_logger().warning(f"{graph.experiment} has no schedule: {error}")
        return []
    return [rerun]


def _scheduled_runs(
    graph: Graph, context: dg.ScheduleEvaluationContext
) -> list[dg.RunRequest] | dg.SkipReason:
    try:
        graph.folder.refresh()
    except TraitvecError as error:
        return dg.SkipReason(str(error))
    settings = usable_settings(graph)
    if settings is None or settings.schedule is None or not settings.schedule.enabled:
        return dg.SkipReason(f"{graph.experiment}: the schedule is off in experiment.yaml")
    in_progress = traits_in_progress(context.instance, graph)
    traits = []
    for name in graph.folder.traits():
        try:
            graph.folder.trait(name).definition()
        except TraitvecError as error:
            context.log.warning(str(error))
            continue
        if name in in_progress:
            context.log.info(f"{name} is already running; skipped")
        else:
            traits.append(name)
    if not traits:
        return dg.SkipReason(f"{graph.experiment}: no trait to run")
    context.instance.add_dynamic_partitions(str(graph.partitions.name), traits)
    at = context.scheduled_execution_time.isoformat()
    return [dg.RunRequest(f"{trait}:{at}", partition_key=trait) for trait in traits]
