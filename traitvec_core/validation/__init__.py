"""What counts as good, and why."""

from traitvec_core.validation.checks import (
    CheckResult,
    check_accuracy,
    check_activations,
    check_contrast,
    check_coverage,
    check_definition,
    check_norm,
)
from traitvec_core.validation.elicitation import Elicitation, keep_mask, summarise_responses
from traitvec_core.validation.recommend import Recommendation, recommend
from traitvec_core.validation.separation import Separation, measure_separation

__all__ = [
    "CheckResult",
    "Elicitation",
    "Recommendation",
    "Separation",
    "check_accuracy",
    "check_activations",
    "check_contrast",
    "check_coverage",
    "check_definition",
    "check_norm",
    "keep_mask",
    "measure_separation",
    "recommend",
    "summarise_responses",
]
