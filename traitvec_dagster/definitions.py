"""The code location: one component over all experiments."""

import os
from pathlib import Path

import dagster as dg

from traitvec_dagster.component import ExperimentsComponent

__all__ = ["build_definitions", "defs"]


def build_definitions() -> dg.Definitions:
    """Build the graphs of the experiments under `TRAITVEC_EXPERIMENTS` (default `experiments`)."""
    return dg.build_defs_for_component(
        ExperimentsComponent(
            # Absolute, because a step may run in a process with another working directory.
            experiments=str(Path(os.environ.get("TRAITVEC_EXPERIMENTS", "experiments")).resolve()),
            executor=os.environ.get("TRAITVEC_EXECUTOR", "in_process"),
        )
    )


defs: dg.Definitions = build_definitions()
