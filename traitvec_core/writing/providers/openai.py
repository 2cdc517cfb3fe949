"""Drafts by models behind OpenAI's chat completions, or a server with the same API."""

from typing import Any

from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.openai import OpenAIModel
from traitvec_core.remote.answers import part_of
from traitvec_core.remote.sdk_errors import clipped
from traitvec_core.writing.writer import Question, Unusable

__all__ = ["OpenAIWriter"]


class OpenAIWriter(OpenAIModel):
    """A model behind `/chat/completions` that drafts."""

    role = "writer"
    model_setting = "the writer's name"

    def draft_request(
        self, question: Question, can: Capabilities, max_tokens: int, *, is_seeded: bool
    ) -> dict[str, Any]:
        """Return the body of a request; see `WriterModel`."""
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": question.prompt}],
            can.limit_name: max_tokens,
        }
        if is_seeded:
            body["seed"] = question.seed
        if can.effort:
            body["reasoning_effort"] = "low"
        if can.structured == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "draft", "strict": True, "schema": question.schema},
            }
        return body

    def read_draft(self, data: Any) -> str | Unusable:
        """Return the text of a decoded answer, or why there is none."""
        choice = data["choices"][0]
        message = choice["message"]
        refusal = message.get("refusal")
        if refusal or choice.get("finish_reason") == "content_filter":
            why = f"refused: {clipped(str(refusal))}" if refusal else "stopped by a content filter"
            return Unusable(f"it was {why}", is_refusal=True)
        if choice.get("finish_reason") == "length":
            hidden = part_of(part_of(data, "usage"), "completion_tokens_details")
            after = " while reasoning" if hidden.get("reasoning_tokens") else ""
            return Unusable(f"it was cut off at the token limit{after}", is_cut_off=True)
        content = message.get("content")
        return content if isinstance(content, str) else Unusable("it has no text")
