"""Stage 1a: responses under the positive and the negative instructions of a trait."""

from traitvec_core.generation.engine import EngineOptions, load_engine
from traitvec_core.generation.plan import PlannedResponse, plan_responses
from traitvec_core.generation.request import GenerationEngine
from traitvec_core.generation.responses import generate_responses, generate_texts
from traitvec_core.generation.text import close_thinking, decode_response, split_thinking

__all__ = [
    "EngineOptions",
    "GenerationEngine",
    "PlannedResponse",
    "close_thinking",
    "decode_response",
    "generate_responses",
    "generate_texts",
    "load_engine",
    "plan_responses",
    "split_thinking",
]
