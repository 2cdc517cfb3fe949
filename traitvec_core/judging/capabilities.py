"""What the API of a judge model accepts."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Capabilities"]


@dataclass(frozen=True)
class Capabilities:
    """What the API of a model accepts.

    Attributes:
        logprobs: Whether it returns the probabilities of the answer's tokens.
        structured: How an answer is forced into a schema: by `json_schema`, by a `tool`, or not.
        temperature: Whether it accepts a temperature.
        limit_name: The name of the limit on the answer's tokens.
        thinks: Whether it reasons before it answers, which takes tokens too.
        effort: Whether it accepts a reasoning effort.
        prefill: Whether the server continues the beginning of an answer, as vLLM does.
    """

    logprobs: bool = True
    structured: Literal["json_schema", "tool", "none"] = "json_schema"
    temperature: bool = True
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinks: bool = False
    effort: bool = False
    prefill: bool = True

    @property
    def scoring(self) -> Literal["weighted", "structured", "text"]:
        """How a score is computed from an answer."""
        if self.logprobs and not self.thinks:
            return "weighted"
        return "text" if self.structured == "none" else "structured"
