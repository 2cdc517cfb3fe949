"""Where an artifact came from: hashes of its inputs, settings, versions, time and cost.

A stage's key is the hash of all that determines its result. An artifact is fresh when its recorded
key is the one that its inputs and settings give today and its files are the ones recorded; no
file's mere existence ever counts.
"""

import json
from collections.abc import Mapping
from typing import Any

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.storage.provenance import content_hash

__all__ = ["UPSTREAM", "stage_key", "stage_settings"]

# What each is made from. A stage is made again by content, so an edge does not mean that all of it
# is redone: a changed rubric leaves the responses as they are.
UPSTREAM: dict[Stage, tuple[Stage, ...]] = {
    "definition": (),
    "responses": ("definition",),
    "judged_responses": ("definition", "responses"),
    "activations": ("judged_responses",),
    "vectors": ("activations",),
    "steering_evaluation": ("definition", "vectors"),
    "validation_report": (
        "definition",
        "judged_responses",
        "activations",
        "vectors",
        "steering_evaluation",
    ),
    # Steering chooses the vector that is watched.
    "trait_dynamics": ("definition", "vectors", "steering_evaluation"),
}

# Raise a stage's number when its arithmetic changes: results made before are then stale.
STAGE_VERSIONS: dict[Stage, str] = {
    "definition": "1",
    "responses": "2",
    "judged_responses": "2",
    "activations": "2",
    "vectors": "2",
    "steering_evaluation": "1",
    "validation_report": "3",
    "trait_dynamics": "1",
}

_MODEL = ("model", "revision", "dtype", "attention", "quantization")
_FILTER = ("threshold", "min_coherence", "pairing")

# What pydantic's `include` takes. Batch size, concurrency, prices, the mode of judging and a
# generation server's address are not here: no result depends on them but in its last bits.
_SETTINGS_OF_STAGE: dict[Stage, dict[str, Any]] = {
    "definition": {},
    "responses": dict.fromkeys(
        (*_MODEL, "engine", "n_examples", "instruction_role", "sampling"), True
    ),
    "judged_responses": {
        **dict.fromkeys(("judge_model", "judge_provider", "judge_base_url", "also_judge"), True),
        **dict.fromkeys(("second_judge", "judge_repeats", "agreement_sample"), True),
    },
    "activations": dict.fromkeys((*_MODEL, "positions", *_FILTER), True),
    "vectors": {
        **dict.fromkeys(
            (
                "methods",
                "layers",
                "scale",
                "gradient_penalty",
                "gradient_objective",
                "probe_penalty",
            ),
            True,
        ),
        "sampling": {"seed": True},
    },
    "steering_evaluation": {
        **dict.fromkeys((*_MODEL, "instruction_role", "sampling", "min_coherence"), True),
        **dict.fromkeys(("judge_model", "judge_provider", "judge_base_url", "steering"), True),
    },
    "validation_report": dict.fromkeys(("thresholds", "severities", *_FILTER), True),
    "trait_dynamics": {
        **dict.fromkeys((*_MODEL, "instruction_role", "sampling", "monitoring_prompts"), True),
        **dict.fromkeys(("judge_model", "judge_provider", "judge_base_url"), True),
    },
}


def stage_settings(stage: Stage, settings: ExperimentSettings) -> dict[str, Any]:
    """Return the settings that a stage's result depends on, ready for JSON."""
    return settings.model_dump(mode="json", include=_SETTINGS_OF_STAGE[stage])


def stage_key(stage: Stage, inputs: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return the hash of everything that determines a stage's result."""
    whole = {
        "stage": stage,
        "version": STAGE_VERSIONS[stage],
        "inputs": dict(inputs),
        "settings": dict(settings),
    }
    return content_hash(json.dumps(whole, sort_keys=True))
