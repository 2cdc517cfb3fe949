"""Partitions that stand for nothing: added by hand, without a folder, and nothing was ever made."""

from collections.abc import Collection

import dagster as dg

from traitvec_core.stage_names import STAGES
from traitvec_core.storage.folders import TraitFolder
from traitvec_dagster.graph.names import Graph

__all__ = ["remove_if_empty", "without_results"]


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
    if folder.path.exists() or not without_results(instance, graph, [folder.name]):
        return False
    instance.delete_dynamic_partition(str(graph.partitions.name), folder.name)
    return True
