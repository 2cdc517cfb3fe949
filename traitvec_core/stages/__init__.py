"""The pipeline: one file per stage, named like the stage, each with its `StageSpec`.

A new stage is such a file, and its name and metadata file in `traitvec_core/stage_names.py`.
"""

from importlib import import_module

from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.spec import StageSpec

__all__ = ["SPECS", "StageSpec"]

SPECS: dict[Stage, StageSpec] = {name: import_module(f"{__name__}.{name}").SPEC for name in STAGES}
"""Every stage's spec, in the order in which stages run."""
