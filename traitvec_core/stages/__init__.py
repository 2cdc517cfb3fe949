"""How each stage is made: from what lies on disk to files and metadata, one file a stage."""

from collections.abc import Callable

from traitvec_core.stage_names import Stage
from traitvec_core.stages.context import StageContext, StageOutput

__all__ = ["MAKERS", "StageContext", "StageOutput"]


def _responses(context: StageContext) -> StageOutput:
    from traitvec_core.stages.responses import make_responses

    return make_responses(context)


def _judged_responses(context: StageContext) -> StageOutput:
    from traitvec_core.stages.judged_responses import make_judged_responses

    return make_judged_responses(context)


def _activations(context: StageContext) -> StageOutput:
    from traitvec_core.stages.activations import make_activations

    return make_activations(context)


def _vectors(context: StageContext) -> StageOutput:
    from traitvec_core.stages.vectors import make_vectors

    return make_vectors(context)


def _steering_evaluation(context: StageContext) -> StageOutput:
    from traitvec_core.stages.steering_evaluation import make_steering_evaluation

    return make_steering_evaluation(context)


def _validation_report(context: StageContext) -> StageOutput:
    from traitvec_core.stages.validation_report import make_validation_report

    return make_validation_report(context)


def _trait_dynamics(context: StageContext) -> StageOutput:
    from traitvec_core.stages.trait_dynamics import make_trait_dynamics

    return make_trait_dynamics(context)


# Torch and transformers are imported by the stages that need them, when they run.
MAKERS: dict[Stage, Callable[[StageContext], StageOutput]] = {
    "responses": _responses,
    "judged_responses": _judged_responses,
    "activations": _activations,
    "vectors": _vectors,
    "steering_evaluation": _steering_evaluation,
    "validation_report": _validation_report,
    "trait_dynamics": _trait_dynamics,
}
