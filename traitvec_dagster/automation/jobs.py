"""The two jobs of an experiment: run all stages of a trait, and evaluate its checks again."""

from typing import Any

import dagster as dg

from traitvec_core.stage_names import STAGES
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.runs.ownership import EXPERIMENT_TAG

__all__ = ["build_jobs"]


def build_jobs(graph: Graph) -> list[Any]:
    """Build the job that runs all stages of a trait, and the job that only evaluates its checks."""
    stages = dg.AssetSelection.assets(*(graph.key(stage) for stage in STAGES))
    checks = dg.AssetSelection.checks_for_assets(*(graph.key(stage) for stage in STAGES))
    return [
        dg.define_asset_job(
            graph.job,
            selection=stages,
            partitions_def=graph.partitions,
            tags={EXPERIMENT_TAG: graph.experiment},
            description=f"Runs all stages of one trait of {graph.experiment}, and reuses those that"
            " are fresh.",
        ),
        dg.define_asset_job(
            graph.recheck_job,
            # Dagster refuses a partitioned job that has only checks; the definition costs nothing.
            selection=checks | dg.AssetSelection.assets(graph.key("definition")),
            partitions_def=graph.partitions,
            tags={EXPERIMENT_TAG: graph.experiment},
            description=f"Evaluates the checks of one trait of {graph.experiment} again, such as"
            " after a changed threshold, and recomputes nothing.",
        ),
    ]
