"""The sensor that makes the atlas after a backfill that asked for it and left it out.

Dagster leaves an unpartitioned asset out of a backfill as soon as one trait fails, although the
atlas compares those that are finished and lists the others.
"""

import json

import dagster as dg

from traitvec_dagster.graph.atlas_asset import atlas_key
from traitvec_dagster.graph.names import Graph

__all__ = ["build_atlas_sensor"]

_INTERVAL_S = 10
_NEWEST = 20
_SOME_FAILED = "COMPLETED_FAILED"


def build_atlas_sensor(graph: Graph) -> dg.SensorDefinition:
    """Build the sensor of one experiment; it makes the atlas once per backfill."""
    atlas = atlas_key(graph)

    @dg.sensor(
        name=graph.atlas_sensor,
        asset_selection=[atlas],
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the atlas after a backfill that was to make it, but did not because a"
        " trait failed. Does nothing else.",
    )
    def atlas_after_backfill(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        instance = context.instance
        ended = [
            backfill
            for backfill in instance.get_backfills(limit=_NEWEST)
            if backfill.status.value == _SOME_FAILED and atlas in (backfill.asset_selection or ())
        ]
        names = [backfill.backfill_id for backfill in ended]
        # At the first tick, nothing is made for what happened before. Dagster forgets an empty
        # cursor, so one of no backfills must not be empty.
        known = names if context.cursor is None else json.loads(context.cursor)
        new = [name for name in names if name not in known]
        # One atlas serves all backfills that have ended.
        request = dg.RunRequest(f"atlas:{new[0]}") if new else None
        if request is not None and _made_by(instance, atlas) in new:
            request = None
        return dg.SensorResult(
            run_requests=[request] if request is not None else [],
            cursor=json.dumps(names),
            skip_reason=None if request is not None else "no backfill has left the atlas out",
        )

    return atlas_after_backfill


def _made_by(instance: dg.DagsterInstance, atlas: dg.AssetKey) -> str | None:
    """The backfill that made the latest atlas, if one did."""
    event = instance.get_latest_materialization_event(atlas)
    run = instance.get_run_by_id(event.run_id) if event is not None else None
    return run.tags.get("dagster/backfill") if run is not None else None
