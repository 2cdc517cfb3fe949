"""Drafts by models behind Anthropic's messages."""

import json
from typing import Any

from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.anthropic import AnthropicModel
from traitvec_core.writing.writer import Question, Unusable

__all__ = ["AnthropicWriter"]

_TOOL = "give_draft"


class AnthropicWriter(AnthropicModel):
    """A model behind `/v1/messages` that drafts."""

    role = "writer"
    model_setting = "the writer's name"

    def draft_request(
        self, question: Question, can: Capabilities, max_tokens: int, *, is_seeded: bool
    ) -> dict[str, Any]:
        """Return the body of a request; see `WriterModel`. This API has no seed."""
        body: dict[str, Any] = {
            "model": self.name,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": question.prompt}],
        }
        if can.structured == "json_schema":
            body["output_config"] = {"format": {"type": "json_schema", "schema": question.schema}}
        elif can.structured == "tool":
            body["tools"] = [
                {"name": _TOOL, "description": "Give the draft.", "input_schema": question.schema}
            ]
            body["tool_choice"] = {"type": "tool", "name": _TOOL}
        return body

    def read_draft(self, data: Any) -> str | Unusable:
        """Return the text of a decoded answer, or why there is none."""
        blocks: list[dict[str, Any]] = data["content"]
        if data.get("stop_reason") == "refusal":
            return Unusable("it was refused", is_refusal=True)
        if data.get("stop_reason") == "max_tokens":
            return Unusable("it was cut off at the token limit", is_cut_off=True)
        for block in blocks:
            if block.get("type") == "tool_use":
                return json.dumps(block.get("input"))
        return "".join(
            str(block.get("text", "")) for block in blocks if block.get("type") == "text"
        )
