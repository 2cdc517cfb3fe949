"""The code location: one component over all experiments, and what `dg scaffold defs` adds."""

import os
from pathlib import Path

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.folders import refresh
from traitvec_dagster.component import ExperimentsComponent

__all__ = ["build_definitions", "defs"]

_PATIENCE_S = 5.0
_DEFS = Path(__file__).with_name("defs")


def build_definitions() -> dg.Definitions:
    """Build the graphs of the experiments under `TRAITVEC_EXPERIMENTS` (default `experiments`).

    In a clone of traitvec, with what `dg scaffold defs` has put into `traitvec_dagster/defs`.
    """
    # Absolute, because a step may run in a process with another working directory.
    experiments = Path(os.environ.get("TRAITVEC_EXPERIMENTS", "experiments")).resolve()
    try:
        refresh(experiments, _PATIENCE_S)
    except TraitvecError as error:
        # The graph shows the local files; each run repeats the warning.
        dg.get_dagster_logger().warning(str(error))
    own = dg.build_defs_for_component(
        ExperimentsComponent(
            # A new project has none yet.
            experiments=[str(experiments)] if experiments.is_dir() else [],
            executor=os.environ.get("TRAITVEC_EXECUTOR", "in_process"),
        )
    )
    # Loading a folder needs pyproject.toml, which is not installed.
    if not _has_scaffolded():
        return own
    return dg.Definitions.merge(own, dg.load_from_defs_folder(path_within_project=_DEFS))


def _has_scaffolded() -> bool:
    files = (path for path in _DEFS.rglob("*") if path.suffix in {".yaml", ".yml", ".py"})
    return any(path.name != "__init__.py" for path in files)


defs: dg.Definitions = build_definitions()
