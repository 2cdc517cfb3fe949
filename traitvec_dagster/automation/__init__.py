"""What starts the graph of an experiment: its jobs, a sensor, a schedule, a condition."""

from collections.abc import Collection
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES
from traitvec_dagster.automation.changes import Changes, Memory, scan
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.runs.ownership import close_dead_runs

__all__ = [
    "build_condition_sensor",
    "build_jobs",
    "build_schedules",
    "build_sensor",
    "follow_data_versions",
    "traits_under_way",
]

_INTERVAL_S = 10
_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def build_jobs(graph: Graph) -> list[Any]:
    """Build the job that makes all stages of a trait, and the one that rechecks it."""
    stages = dg.AssetSelection.assets(*(graph.key(stage) for stage in STAGES))
    checks = dg.AssetSelection.checks_for_assets(*(graph.key(stage) for stage in STAGES))
    return [
        dg.define_asset_job(
            graph.job,
            selection=stages,
            partitions_def=graph.partitions,
            description=f"All stages of one trait of {graph.experiment}; what is fresh is kept.",
        ),
        dg.define_asset_job(
            graph.recheck_job,
            # Dagster refuses a partitioned job of checks alone; the definition costs nothing.
            selection=checks | dg.AssetSelection.assets(graph.key("definition")),
            partitions_def=graph.partitions,
            description=f"Evaluates the checks of one trait of {graph.experiment} again, after a"
            " threshold changed, without recomputing anything.",
        ),
    ]


def build_sensor(graph: Graph) -> dg.SensorDefinition:
    """Build the sensor that turns definitions into partitions and, with `auto_run`, into runs."""

    @dg.sensor(
        name=f"{graph.python_name}_definitions",
        job_name=graph.job,
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"A definition file in {graph.experiment} becomes a partition, and with"
        " `auto_run: true` in experiment.yaml a run; so does a changed one. Broken and removed ones"
        " are told of once. Nothing is ever deleted.",
    )
    def definitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        close_dead_runs(context.instance)
        name = str(graph.partitions.name)
        try:
            graph.folder.refresh(patience_s=0)
        except TraitvecError as error:
            # The next look comes soon.
            return dg.SkipReason(str(error))
        changes = scan(
            graph.folder, _remembered(context.cursor), context.instance.get_dynamic_partitions(name)
        )
        for message in changes.messages:
            context.log.warning(message.text)
        busy = traits_under_way(context.instance, graph) if changes.changed else ()
        # A trait that is under way comes at a later look: two runs would write the same files.
        asked = [trait for trait in changes.changed if trait not in busy]
        requests = [dg.RunRequest(changes.ask(trait), partition_key=trait) for trait in asked]
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[graph.partitions.build_add_request(changes.new)]
            if changes.new
            else [],
            asset_events=_events(graph, changes),
            cursor=changes.memory.model_dump_json(),
            skip_reason=None if requests else _why_no_run(graph, changes, busy),
        )

    return definitions


def build_schedules(graph: Graph) -> list[dg.ScheduleDefinition]:
    """Build the schedule of an experiment whose settings have one.

    A change of its times counts after "Reload definitions"; that it is switched off, at once.
    """
    settings = _settings(graph)
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
            description=f"Runs every trait of {graph.experiment} again, but those under way.",
        )
        def rerun(
            context: dg.ScheduleEvaluationContext,
        ) -> list[dg.RunRequest] | dg.SkipReason:
            return _scheduled_runs(graph, context)

    except dg.DagsterInvalidDefinitionError as error:
        # One experiment's mistake must not take the others with it.
        dg.get_dagster_logger().warning(f"{graph.experiment} has no schedule: {error}")
        return []
    return [rerun]


def build_condition_sensor(graph: Graph) -> list[dg.SensorDefinition]:
    """Build what evaluates the condition, for an experiment with `follow_data_versions`."""
    settings = _settings(graph)
    if settings is None or not settings.follow_data_versions:
        return []
    return [
        dg.AutomationConditionSensorDefinition(
            f"{graph.python_name}_data_versions",
            target=dg.AssetSelection.assets(*(graph.key(stage) for stage in STAGES)),
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Makes a stage when the content that it is made from has changed.",
        )
    ]


def follow_data_versions(graph: Graph, asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Give a stage the condition, if the experiment's settings say `follow_data_versions`."""
    settings = _settings(graph)
    is_asked_for = settings is not None and settings.follow_data_versions
    if not is_asked_for or asset.key == graph.key("definition"):
        return asset
    condition = dg.AutomationCondition
    # `eager()` would fire at every materialization, also of the same content.
    changed = (
        condition.any_deps_match(condition.data_version_changed())
        | condition.code_version_changed()
    )
    whole = (
        changed.since(condition.newly_requested() | condition.newly_updated())
        & ~condition.any_deps_missing()
        & condition.all_deps_blocking_checks_passed()
        & ~condition.in_progress()
    )
    return asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=whole))


def traits_under_way(instance: dg.DagsterInstance, graph: Graph) -> set[str]:
    """Traits of which a run is queued or running, whoever started it.

    Runs whose process on this machine is gone are closed first.
    """
    close_dead_runs(instance)
    changes = set()
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        keys = run.asset_selection or ()
        is_ours = run.job_name in graph.jobs
        trait = run.tags.get("dagster/partition")
        if trait and (is_ours or any(key.path[0] == graph.experiment for key in keys)):
            changes.add(trait)
    return changes


def _scheduled_runs(
    graph: Graph, context: dg.ScheduleEvaluationContext
) -> list[dg.RunRequest] | dg.SkipReason:
    try:
        graph.folder.refresh()
    except TraitvecError as error:
        return dg.SkipReason(str(error))
    settings = _settings(graph)
    if settings is None or settings.schedule is None or not settings.schedule.enabled:
        return dg.SkipReason(f"{graph.experiment}: experiment.yaml switches the schedule off")
    busy = traits_under_way(context.instance, graph)
    traits = []
    for name in graph.folder.traits():
        try:
            graph.folder.trait(name).definition()
        except TraitvecError as error:
            context.log.warning(str(error))
            continue
        if name in busy:
            context.log.info(f"{name} is under way and is left out")
        else:
            traits.append(name)
    if not traits:
        return dg.SkipReason(f"{graph.experiment}: no trait to run")
    context.instance.add_dynamic_partitions(str(graph.partitions.name), traits)
    at = context.scheduled_execution_time.isoformat()
    return [dg.RunRequest(f"{trait}:{at}", partition_key=trait) for trait in traits]


def _remembered(cursor: str | None) -> Memory:
    try:
        return Memory.model_validate_json(cursor) if cursor else Memory()
    except ValueError:
        # Of another version, or edited by hand.
        return Memory()


def _events(
    graph: Graph, changes: Changes
) -> list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """What stays in Dagster's history of a trait that is broken or gone."""
    events: list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
    key = graph.key("definition")
    for message in changes.messages:
        if message.trait is not None and message.is_broken:
            events.append(
                dg.AssetCheckEvaluation(
                    asset_key=key, check_name="definition", passed=False,
                    severity=dg.AssetCheckSeverity.ERROR, partition=message.trait,
                    description=message.text, blocking=True,
                )
            )  # fmt: skip
        elif message.trait is not None:
            events.append(
                dg.AssetObservation(key, description=message.text, partition=message.trait)
            )
    return events


def _why_no_run(graph: Graph, changes: Changes, busy: Collection[str]) -> str:
    told = [message.text for message in changes.messages]
    if changes.new:
        told.append(f"new: {', '.join(changes.new)}")
    if waiting := [trait for trait in changes.changed if trait in busy]:
        told.append(f"under way, and looked at again when they are done: {', '.join(waiting)}")
    return "; ".join(told) or f"{graph.experiment}: nothing has changed"


def _settings(graph: Graph) -> ExperimentSettings | None:
    """The experiment's settings, or None if they cannot be used; runs and the sensor say why."""
    try:
        return graph.folder.settings()
    except TraitvecError:
        return None
