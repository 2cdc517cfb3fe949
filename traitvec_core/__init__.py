"""traitvec_core: from a trait definition to a direction in a language model.

This is the table of contents: what is not listed here may change. Names are loaded when they are
first used, so that importing the package costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that spin between small operations slow everything down, tenfold on a busy machine. torch
# reads this once, when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from traitvec_core.activations import capture_means, residual_stream_hooks
    from traitvec_core.dynamics import WatchedVector, watch
    from traitvec_core.errors import DefinitionError, TraitvecError
    from traitvec_core.experiment import ExperimentSettings, parse_experiment
    from traitvec_core.generation import generate_responses, plan_responses
    from traitvec_core.judging import LocalJudge, judge_responses
    from traitvec_core.language_model import LanguageModel, load_language_model
    from traitvec_core.pipeline import Workbench, make, stage_states
    from traitvec_core.store import ExperimentFolder, TraitFolder
    from traitvec_core.trait import TraitDefinition, parse_definition, scaffold_definition
    from traitvec_core.validation import measure_separation, recommend, summarise_responses
    from traitvec_core.vectors import METHODS, TraitVector, extract_vectors

_HOME = {
    "DefinitionError": "errors",
    "ExperimentFolder": "store",
    "ExperimentSettings": "experiment",
    "LanguageModel": "language_model",
    "LocalJudge": "judging",
    "METHODS": "vectors",
    "TraitDefinition": "trait",
    "TraitFolder": "store",
    "TraitVector": "vectors",
    "WatchedVector": "dynamics",
    "TraitvecError": "errors",
    "Workbench": "pipeline",
    "capture_means": "activations",
    "extract_vectors": "vectors",
    "generate_responses": "generation",
    "judge_responses": "judging",
    "load_language_model": "language_model",
    "make": "pipeline",
    "measure_separation": "validation",
    "parse_definition": "trait",
    "parse_experiment": "experiment",
    "plan_responses": "generation",
    "recommend": "validation",
    "residual_stream_hooks": "activations",
    "scaffold_definition": "trait",
    "stage_states": "pipeline",
    "summarise_responses": "validation",
    "watch": "dynamics",
}

__all__ = [
    "METHODS",
    "DefinitionError",
    "ExperimentFolder",
    "ExperimentSettings",
    "LanguageModel",
    "LocalJudge",
    "TraitDefinition",
    "TraitFolder",
    "TraitVector",
    "TraitvecError",
    "WatchedVector",
    "Workbench",
    "capture_means",
    "extract_vectors",
    "generate_responses",
    "judge_responses",
    "load_language_model",
    "make",
    "measure_separation",
    "parse_definition",
    "parse_experiment",
    "plan_responses",
    "recommend",
    "residual_stream_hooks",
    "scaffold_definition",
    "stage_states",
    "summarise_responses",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
