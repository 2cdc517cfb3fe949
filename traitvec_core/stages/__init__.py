"""The pipeline: one file per stage, each with its `StageSpec`, in the order in which they run."""

from traitvec_core.stage_names import Stage
from traitvec_core.stages import (
    activations,
    definition,
    judged_responses,
    responses,
    steering_evaluation,
    trait_dynamics,
    validation_report,
    vectors,
)
from traitvec_core.stages.spec import StageSpec

__all__ = ["SPECS", "StageSpec"]

# A new stage is one row here, its name and its metadata file in `stage_names.py`, and one file.
SPECS: dict[Stage, StageSpec] = {
    spec.name: spec
    for spec in (
        definition.SPEC,
        responses.SPEC,
        judged_responses.SPEC,
        activations.SPEC,
        vectors.SPEC,
        steering_evaluation.SPEC,
        validation_report.SPEC,
        trait_dynamics.SPEC,
    )
}
