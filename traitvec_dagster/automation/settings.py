"""The settings of an experiment whose file may be broken."""

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_dagster.graph.names import Graph

__all__ = ["usable_settings"]


def usable_settings(graph: Graph) -> ExperimentSettings | None:
    """Return the experiment's settings, or None if the file is broken.

    The definitions sensor and every run report what is wrong with it.
    """
    try:
        return graph.folder.settings()
    except TraitvecError:
        return None
