"""Stage 1a: responses on both sides of a trait."""

from traitvec_core.generation.plan import PlannedResponse, plan_responses
from traitvec_core.generation.sampling import generate_responses

__all__ = ["PlannedResponse", "generate_responses", "plan_responses"]
