"""The sensor that turns definition files into partitions and runs."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_dagster.automation.changes import Changes, Memory, scan
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.graph.empty_partitions import is_backfilled, without_results
from traitvec_dagster.graph.freshness import CHANGED, changed_observations
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.runs.ownership import close_dead_runs

__all__ = ["build_sensor"]

_INTERVAL_S = 10
_REMOVED = "The partition, which has neither a folder nor results, was removed"
_MAX_LINES = 5


def build_sensor(graph: Graph) -> dg.SensorDefinition:
    """Build the sensor that adds a partition for each definition and, with `auto_run`, a run."""

    @dg.sensor(
        name=graph.sensor,
        job_name=graph.job,
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Keeps Dagster up to date with the files of {graph.experiment}: adds"
        " partitions for new definitions, runs what changed where `auto_run` is on, and reports"
        " what has become stale.",
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
        is_asking = bool(waiting or changes.without_folder)
        in_progress = traits_in_progress(context.instance, graph) if is_asking else set()
        empty = without_results(context.instance, graph, changes.without_folder)
        in_use = empty & in_progress
        if empty and is_backfilled(context.instance, graph):
            in_use = empty
        for trait in in_use:
            changes.report_again(trait)
        removed = sorted(empty - in_use)
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
        observations = changed_observations(context.instance, graph, changes.states)
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[
                *([graph.partitions.build_add_request(changes.new)] if changes.new else []),
                *([graph.partitions.build_delete_request(removed)] if removed else []),
            ],
            asset_events=[*_removals(graph, changes, removed), *observations],
            cursor=changes.memory.model_dump_json(),
            skip_reason=None
            if requests
            else _skip_reason(
                graph,
                changes,
                [trait for trait in waiting if trait in in_progress],
                removed,
                observations,
            ),
        )

    return definitions


def _read_cursor(cursor: str | None) -> Memory:
    try:
        return Memory.model_validate_json(cursor) if cursor else Memory()
    except ValueError:
        # Written by another version, or edited by hand.
        return Memory()


def _removals(
    graph: Graph, changes: Changes, removed: Collection[str]
) -> list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Record in Dagster's history which definitions and partitions are gone."""
    return [
        dg.AssetObservation(
            graph.key("definition"),
            description=notice.text + (f". {_REMOVED}" if notice.trait in removed else ""),
            partition=notice.trait,
        )
        for notice in changes.notices
        if notice.trait is not None and not notice.is_broken
    ]


def _skip_reason(
    graph: Graph,
    changes: Changes,
    waiting: Sequence[str],
    removed: Collection[str],
    observations: Sequence[dg.AssetObservation],
) -> str:
    reasons = [notice.text for notice in changes.notices]
    if removed:
        reasons.append(f"partitions removed, without folder and results: {', '.join(removed)}")
    if changes.new:
        reasons.append(f"new: {', '.join(changes.new)}")
    if waiting:
        reasons.append(f"already running, checked again afterwards: {', '.join(waiting)}")
    reasons += _freshness(observations)
    return "; ".join(reasons) or f"{graph.experiment}: nothing has changed"


def _freshness(observations: Sequence[dg.AssetObservation]) -> list[str]:
    """What has become stale or fresh, a line per trait."""
    stages: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for observation in observations:
        is_stale = observation.data_version == CHANGED
        stage = observation.asset_key.path[-1].removesuffix("_inputs")
        stages[str(observation.partition), is_stale].append(stage)
    lines = [
        f"{trait}: {'stale' if is_stale else 'fresh again'}: {', '.join(names)}"
        for (trait, is_stale), names in stages.items()
    ]
    if len(lines) > _MAX_LINES:
        return [*lines[:_MAX_LINES], f"and {len(lines) - _MAX_LINES} more traits"]
    return lines
