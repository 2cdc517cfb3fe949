"""The names of the stages, in order."""

from typing import Literal

__all__ = ["METADATA_FILE", "STAGES", "Stage"]


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

# Where each stage keeps its metadata and its record, below the trait's folder.
METADATA_FILE: dict[Stage, str] = {
    "responses": "responses/generation_metadata.json",
    "judged_responses": "responses/judging_metadata.json",
    "activations": "activations/metadata.json",
    "vectors": "vectors/manifest.json",
    "steering_evaluation": "steering/evaluation.json",
    "validation_report": "validation/report.json",
    "trait_dynamics": "dynamics/summary.json",
}
