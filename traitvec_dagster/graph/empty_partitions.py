"""Partitions that stand for nothing: added by hand, without a folder, and nothing was ever made."""

import os
from collections.abc import Collection

import dagster as dg

from traitvec_core.stage_names import STAGES
from traitvec_core.storage.folders import TraitFolder
from traitvec_dagster.graph.names import Graph

__all__ = ["is_backfilled", "remove_if_empty", "without_results"]

_IN_PROGRESS = {"REQUESTED", "CANCELING", "FAILING"}
_NEWEST = 20


def is_backfilled(instance: dg.DagsterInstance, graph: Graph) -> bool:
    """Whether a backfill of the experiment is in progress.

    Dagster gives up a backfill, with all its runs, when a partition that it targets is removed.
    """
    return any(
        backfill.status.value in _IN_PROGRESS
        # A backfill of a job names no assets.
        and any(
            key.path[0] == graph.experiment
            for key in backfill.asset_selection or (graph.key("definition"),)
        )
        for backfill in instance.get_backfills(limit=_NEWEST)
    )


def without_results(
    instance: dg.DagsterInstance, graph: Graph, partitions: Collection[str]
) -> set[str]:
    """Return those of the partitions for which no stage was ever materialized."""
    empty = set(partitions)
    for stage in STAGES if empty else ():
        empty -= instance.get_materialized_partitions(graph.key(stage))
    return empty


def remove_if_empty(instance: dg.DagsterInstance, graph: Graph, folder: TraitFolder) -> bool:
    """Remove a trait's partition if it has neither a folder nor results; returns whether it did.

    The sensor does the same at its next tick. Until then, a run of this partition would leave it
    as failed at every stage.
    """
    # Where the disk itself is missing, nothing is known; a dangling link is something to look at.
    if not graph.folder.path.is_dir() or os.path.lexists(folder.path):
        return False
    if is_backfilled(instance, graph):
        return False
    if not without_results(instance, graph, [folder.name]):
        return False
    instance.delete_dynamic_partition(str(graph.partitions.name), folder.name)
    return True
