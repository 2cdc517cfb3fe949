"""Stage 1a: responses under the positive and the negative instructions of a trait.

Names are imported on first use, so that `generation.plan` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traitvec_core.generation.engine import engine_of, load_engine, reading_engine_of
    from traitvec_core.generation.engine_options import EngineOptions
    from traitvec_core.generation.plan import PlannedResponse, plan_responses
    from traitvec_core.generation.request import GenerationEngine
    from traitvec_core.generation.responses import as_engine, generate_responses, generate_texts
    from traitvec_core.generation.text import close_thinking, decode_response, split_thinking

_HOME = {
    "EngineOptions": "engine_options",
    "GenerationEngine": "request",
    "PlannedResponse": "plan",
    "as_engine": "responses",
    "close_thinking": "text",
    "decode_response": "text",
    "engine_of": "engine",
    "generate_responses": "responses",
    "generate_texts": "responses",
    "load_engine": "engine",
    "plan_responses": "plan",
    "reading_engine_of": "engine",
    "split_thinking": "text",
}

__all__ = [
    "EngineOptions",
    "GenerationEngine",
    "PlannedResponse",
    "as_engine",
    "close_thinking",
    "decode_response",
    "engine_of",
    "generate_responses",
    "generate_texts",
    "load_engine",
    "plan_responses",
    "reading_engine_of",
    "split_thinking",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
