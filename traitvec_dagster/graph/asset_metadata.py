"""What an asset's page shows before anything has run: code, files, columns."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from traitvec_core.storage.response_tables import Column
from traitvec_dagster.graph.metadata_values import Metadata
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.source_links import source_links

__all__ = ["ROW_COUNT", "asset_metadata"]

ROW_COUNT = "dagster/row_count"
"""Metadata of a materialization: the rows of its tables. Dagster's pages know it by this key."""


def asset_metadata(
    graph: Graph, *, work: Callable[..., Any], files: str, columns: Iterable[Column] = ()
) -> Metadata:
    """Return the metadata of an asset's definition.

    Args:
        graph: The experiment.
        work: The core's function that does the asset's work.
        files: Its files, below the experiment's folder.
        columns: Those of its tables, where it has tables.
    """
    # Relative to the project: the same on every machine, and where the tree is moved.
    where = f"{Path(graph.root).name}/{graph.experiment}/{files}"
    metadata: Metadata = {"dagster/uri": where, **source_links(graph, work)}
    schema = dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                column.type,
                column.description,
                dg.TableColumnConstraints(nullable=column.can_be_missing),
            )
            for column in columns
        ]
    )
    return {**metadata, "dagster/column_schema": schema} if schema.columns else metadata
