"""The stages' names, in order, and where each keeps its record.

This file is low, so that storage and everything above it can name a stage. All else about a stage
is in its `StageSpec`, beside its code in `traitvec_core/stages/`.
"""

from typing import Literal, get_args

__all__ = ["METADATA_FILE", "STAGES", "RedoKind", "Stage"]

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

STAGES: tuple[Stage, ...] = get_args(Stage)

RedoKind = Literal["all", "missing"]
"""How a fresh stage is made again: all of it, or only the judgements that are missing."""

# Each stage's metadata, below the trait's folder; the definition has none.
METADATA_FILE: dict[Stage, str] = {
    "responses": "responses/generation_metadata.json",
    "judged_responses": "responses/judging_metadata.json",
    "activations": "activations/metadata.json",
    "vectors": "vectors/manifest.json",
    "steering_evaluation": "steering/evaluation.json",
    "validation_report": "validation/report.json",
    "trait_dynamics": "dynamics/summary.json",
}
