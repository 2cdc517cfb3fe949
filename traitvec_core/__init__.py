"""traitvec_core: from a trait definition to a direction in a language model.

The public library: names that are not listed here may change. Each name is loaded on first use, so
importing the package is fast.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that spin between small operations are up to ten times slower on a busy machine. torch
# reads this once, when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from traitvec_core.atlas import Atlas, build_atlas
    from traitvec_core.dynamics import Curve, ResponseSummary, Trace, stream, trace
    from traitvec_core.errors import DefinitionError, TraitvecError, TraitvecWarning
    from traitvec_core.exchange import export_vectors
    from traitvec_core.experiment import ExperimentSettings, Sampling
    from traitvec_core.generation import (
        EngineOptions,
        generate_responses,
        load_engine,
        plan_responses,
    )
    from traitvec_core.judging import LocalJudge, judge_responses
    from traitvec_core.models.activations import capture_means
    from traitvec_core.models.language_model import LanguageModel, load_language_model
    from traitvec_core.models.steering import Ablation, Addition, Cap, Projection, steer
    from traitvec_core.notebook import (
        ChosenVector,
        capture,
        extract,
        generate,
        load_activations,
        load_vector,
    )
    from traitvec_core.report.monitor_page import build_monitor_page
    from traitvec_core.rubrics import RubricComparison, compare_rubrics
    from traitvec_core.stages.context import Workbench
    from traitvec_core.stages.make import make, stage_states
    from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
    from traitvec_core.trait import TraitDefinition, parse_definition
    from traitvec_core.trial import Revised, Trial, revise_trait, try_trait
    from traitvec_core.validation.labelled_activations import LabelledActivations
    from traitvec_core.validation.recommend import recommend
    from traitvec_core.validation.separation import Separation, measure_separation
    from traitvec_core.validation.validate import Validation, validate
    from traitvec_core.vectors import METHODS, TraitVector, extract_vectors
    from traitvec_core.writing import (
        AddedScenarios,
        DraftRecord,
        TraitDraft,
        add_scenarios,
        draft_trait,
        load_writer,
    )

_HOME = {
    "atlas": ("Atlas", "build_atlas"),
    "dynamics": ("Curve", "ResponseSummary", "Trace", "stream", "trace"),
    "errors": ("DefinitionError", "TraitvecError", "TraitvecWarning"),
    "exchange": ("export_vectors",),
    "experiment": ("ExperimentSettings", "Sampling"),
    "generation": ("EngineOptions", "generate_responses", "load_engine", "plan_responses"),
    "judging": ("LocalJudge", "judge_responses"),
    "models.activations": ("capture_means",),
    "models.language_model": ("LanguageModel", "load_language_model"),
    "models.steering": ("Ablation", "Addition", "Cap", "Projection", "steer"),
    "notebook": (
        "ChosenVector", "capture", "extract", "generate", "load_activations", "load_vector",
    ),
    "report.monitor_page": ("build_monitor_page",),
    "rubrics": ("RubricComparison", "compare_rubrics"),
    "stages.context": ("Workbench",),
    "stages.make": ("make", "stage_states"),
    "storage.folders": ("ExperimentFolder", "TraitFolder"),
    "trait": ("TraitDefinition", "parse_definition"),
    "trial": ("Revised", "Trial", "revise_trait", "try_trait"),
    "validation.labelled_activations": ("LabelledActivations",),
    "validation.recommend": ("recommend",),
    "validation.separation": ("Separation", "measure_separation"),
    "validation.validate": ("Validation", "validate"),
    "vectors": ("METHODS", "TraitVector", "extract_vectors"),
    "writing": (
        "AddedScenarios", "DraftRecord", "TraitDraft", "add_scenarios", "draft_trait",
        "load_writer",
    ),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "METHODS",
    "Ablation",
    "AddedScenarios",
    "Addition",
    "Atlas",
    "Cap",
    "ChosenVector",
    "Curve",
    "DefinitionError",
    "DraftRecord",
    "EngineOptions",
    "ExperimentFolder",
    "ExperimentSettings",
    "LabelledActivations",
    "LanguageModel",
    "LocalJudge",
    "Projection",
    "ResponseSummary",
    "Revised",
    "RubricComparison",
    "Sampling",
    "Separation",
    "Trace",
    "TraitDefinition",
    "TraitDraft",
    "TraitFolder",
    "TraitVector",
    "TraitvecError",
    "TraitvecWarning",
    "Trial",
    "Validation",
    "Workbench",
    "add_scenarios",
    "build_atlas",
    "build_monitor_page",
    "capture",
    "capture_means",
    "compare_rubrics",
    "draft_trait",
    "export_vectors",
    "extract",
    "extract_vectors",
    "generate",
    "generate_responses",
    "judge_responses",
    "load_activations",
    "load_engine",
    "load_language_model",
    "load_vector",
    "load_writer",
    "make",
    "measure_separation",
    "parse_definition",
    "plan_responses",
    "recommend",
    "revise_trait",
    "stage_states",
    "steer",
    "stream",
    "trace",
    "try_trait",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    # For completion in notebooks: unused names are not in globals() yet.
    return sorted({*globals(), *__all__})
