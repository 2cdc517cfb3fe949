"""The sensor that turns definition files into partitions and runs."""

from collections.abc import Sequence

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_dagster.automation.changes import Changes, Memory, scan
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.runs.ownership import close_dead_runs

__all__ = ["build_sensor"]

_INTERVAL_S = 10


def build_sensor(graph: Graph) -> dg.SensorDefinition:
    """Build the sensor that adds a partition for each definition and, with `auto_run`, a run."""

    @dg.sensor(
        name=f"{graph.python_name}_definitions",
        job_name=graph.job,
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Adds a partition for every new definition file in {graph.experiment}. With"
        " `auto_run: true` in experiment.yaml, also runs new and changed ones. Runs the check of a"
        " definition that broke or was fixed, and reports removed ones once. Never deletes"
        " anything.",
    )
    def definitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        close_dead_runs(context.instance)
        name = str(graph.partitions.name)
        try:
            graph.folder.refresh(patience_s=0)
        except TraitvecError as error:
            # The next scan is a few seconds away.
            return dg.SkipReason(str(error))
        changes = scan(
            graph.folder,
            _read_cursor(context.cursor),
            context.instance.get_dynamic_partitions(name),
        )
        for notice in changes.notices:
            context.log.warning(notice.text)
        waiting = [*changes.changed, *changes.unchecked]
        in_progress = traits_in_progress(context.instance, graph) if waiting else set()
        # A trait in progress waits for a later scan: two runs would write the same files.
        requests = [
            dg.RunRequest(changes.request_run(trait), partition_key=trait)
            for trait in changes.changed
            if trait not in in_progress
        ] + [
            # In a run, since Dagster stores only one evaluation per trait outside of runs.
            dg.RunRequest(
                changes.request_check(trait),
                partition_key=trait,
                asset_selection=[graph.key("definition")],
            )
            for trait in changes.unchecked
            if trait not in in_progress
        ]
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[graph.partitions.build_add_request(changes.new)]
            if changes.new
            else [],
            asset_events=_removals(graph, changes),
            cursor=changes.memory.model_dump_json(),
            skip_reason=None
            if requests
            else _skip_reason(graph, changes, [trait for trait in waiting if trait in in_progress]),
        )

    return definitions


def _read_cursor(cursor: str | None) -> Memory:
    try:
        return Memory.model_validate_json(cursor) if cursor else Memory()
    except ValueError:
        # Written by another version, or edited by hand.
        return Memory()


def _removals(
    graph: Graph, changes: Changes
) -> list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Record in Dagster's history which definitions are gone."""
    return [
        dg.AssetObservation(
            graph.key("definition"), description=notice.text, partition=notice.trait
        )
        for notice in changes.notices
        if notice.trait is not None and not notice.is_broken
    ]


def _skip_reason(graph: Graph, changes: Changes, waiting: Sequence[str]) -> str:
    reasons = [notice.text for notice in changes.notices]
    if changes.new:
        reasons.append(f"new: {', '.join(changes.new)}")
    if waiting:
        reasons.append(f"already running, checked again afterwards: {', '.join(waiting)}")
    return "; ".join(reasons) or f"{graph.experiment}: nothing has changed"
