"""What starts the graph: the jobs of an experiment."""

from typing import Any

import dagster as dg

from traitvec_core.provenance import STAGES
from traitvec_dagster.partitions import Graph

__all__ = ["build_jobs"]


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
