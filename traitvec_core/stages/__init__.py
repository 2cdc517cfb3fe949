"""How each stage is made: from what lies on disk to files and metadata, one file a stage."""

from collections.abc import Callable

from traitvec_core.provenance import Stage
from traitvec_core.stages.work import Result, Work

__all__ = ["MAKERS", "Result", "Work"]


def _responses(work: Work) -> Result:
    from traitvec_core.stages.responses import make_responses

    return make_responses(work)


def _judged_responses(work: Work) -> Result:
    from traitvec_core.stages.judged_responses import make_judged_responses

    return make_judged_responses(work)


def _activations(work: Work) -> Result:
    from traitvec_core.stages.activations import make_activations

    return make_activations(work)


def _vectors(work: Work) -> Result:
    from traitvec_core.stages.vectors import make_vectors

    return make_vectors(work)


def _steering_evaluation(work: Work) -> Result:
    from traitvec_core.stages.steering_evaluation import make_steering_evaluation

    return make_steering_evaluation(work)


def _validation_report(work: Work) -> Result:
    from traitvec_core.stages.validation_report import make_validation_report

    return make_validation_report(work)


def _trait_dynamics(work: Work) -> Result:
    from traitvec_core.stages.trait_dynamics import make_trait_dynamics

    return make_trait_dynamics(work)


# Torch and transformers are imported by the stages that need them, when they run.
MAKERS: dict[Stage, Callable[[Work], Result]] = {
    "responses": _responses,
    "judged_responses": _judged_responses,
    "activations": _activations,
    "vectors": _vectors,
    "steering_evaluation": _steering_evaluation,
    "validation_report": _validation_report,
    "trait_dynamics": _trait_dynamics,
}
