"""The schedule that reruns every trait of an experiment; the UI's switch turns it on and off."""

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.settings.schedule import Schedule
from traitvec_dagster.automation.settings import usable_settings
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.graph.names import Graph

__all__ = ["build_schedules"]

_WHEN_SWITCHED_ON = Schedule(cron="0 3 * * 1")
_SWITCH = (
    "The switch decides whether it runs; `schedule` in experiment.yaml sets the times (Mondays at"
    " 3:00 UTC if it has none), and with `enabled` whether it is on at first."
)


def build_schedules(graph: Graph) -> list[dg.ScheduleDefinition]:
    """Build the schedule of an experiment. It is always there, so that the UI can switch it on.

    `schedule` in experiment.yaml sets the times, and whether it is on until somebody uses the
    switch. Changes take effect after "Reload definitions".

    Returns:
        The schedule; empty if Dagster refuses its times.
    """
    settings = usable_settings(graph)
    written = settings.schedule if settings is not None else None
    is_on = written is not None and written.enabled
    times = written or _WHEN_SWITCHED_ON

    try:

        @dg.schedule(
            name=f"{graph.python_name}_rerun",
            job_name=graph.job,
            cron_schedule=times.cron,
            execution_timezone=times.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING
            if is_on
            else dg.DefaultScheduleStatus.STOPPED,
            description=f"Reruns every trait of {graph.experiment} that is not already running."
            f" {_SWITCH}",
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
    try:
        settings = graph.folder.settings()
    except TraitvecError as error:
        # Every run would say the same.
        return dg.SkipReason(str(error))
    in_progress = traits_in_progress(context.instance, graph)
    traits = []
    for name in graph.folder.traits():
        try:
            graph.folder.trait(name).definition().pairs(settings.elicitation)
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
