"""The code location: one component over all experiments."""

import os
from pathlib import Path

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.folders import refresh
from traitvec_dagster.component import ExperimentsComponent

__all__ = ["build_definitions", "defs"]

_PATIENCE_S = 5.0


def build_definitions() -> dg.Definitions:
    """Build the graphs of the experiments under `TRAITVEC_EXPERIMENTS` (default `experiments`)."""
    # Absolute, because a step may run in a process with another working directory.
    experiments = Path(os.environ.get("TRAITVEC_EXPERIMENTS", "experiments")).resolve()
    try:
        refresh(experiments, _PATIENCE_S)
    except TraitvecError as error:
        # The graph shows the local files; each run repeats the warning.
        dg.get_dagster_logger().warning(str(error))
    return dg.build_defs_for_component(
        ExperimentsComponent(
            experiments=str(experiments),
            executor=os.environ.get("TRAITVEC_EXECUTOR", "in_process"),
        )
    )


defs: dg.Definitions = build_definitions()
