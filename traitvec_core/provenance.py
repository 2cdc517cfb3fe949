"""Where an artifact came from: hashes of its inputs, settings, versions, time and cost.

A stage's key is the hash of all that determines its result. An artifact is fresh when its recorded
key is the one that its inputs and settings give today and its files are the ones recorded; no
file's mere existence ever counts.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, Field

from traitvec_core.experiment import ExperimentSettings

__all__ = [
    "STAGES",
    "UPSTREAM",
    "Cost",
    "Provenance",
    "Stage",
    "content_hash",
    "stage_key",
    "stage_settings",
]

Stage = Literal[
    "definition",
    "responses",
    "judged_responses",
    "activations",
    "vectors",
    "steering_evaluation",
    "validation_report",
    "trait_dynamics",
]
STAGES: tuple[Stage, ...] = (
    "definition",
    "responses",
    "judged_responses",
    "activations",
    "vectors",
    "steering_evaluation",
    "validation_report",
    "trait_dynamics",
)
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


@cache
def library_versions() -> tuple[tuple[str, str], ...]:
    """Versions of what results depend on, without importing any of it."""
    found = [("python", platform.python_version())]
    for name in ("traitvec", "torch", "transformers", "numpy", "scikit-learn"):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


class Cost(BaseModel):
    """What a stage spent; dollars are None where a price is not known."""

    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Both together."""
        is_known = self.usd is not None and other.usd is not None
        return Cost(
            seconds=self.seconds + other.seconds,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            usd=(self.usd or 0.0) + (other.usd or 0.0) if is_known else None,
        )


class Provenance(BaseModel):
    """What an artifact was made from, and how.

    Attributes:
        stage: The stage that made it.
        key: Hash of everything that determines the result.
        inputs: Content hashes of the inputs, by name.
        settings: The settings that the stage used.
        files: Content hash of every file of the artifact, by path under the trait's folder.
        content: One hash over `files`: the artifact's data version.
        versions: Python and library versions.
        created_at: When it was finished, UTC.
        cost: Seconds, tokens and dollars spent.
        is_complete: False when some of the work failed in a way that another run may mend.
    """

    stage: Stage
    key: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    content: str = ""
    versions: dict[str, str] = Field(default_factory=lambda: dict(library_versions()))
    created_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    cost: Cost = Field(default_factory=Cost)
    is_complete: bool = True


def content_hash(data: bytes | str) -> str:
    """SHA-256 of bytes or of UTF-8 text, in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


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
