"""Judges behind Anthropic's messages."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from traitvec_core.judging.asking import (
    Ask,
    BatchResult,
    BatchState,
    RefusedError,
    Score,
    Usage,
)
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.openai import score_schema, tokens
from traitvec_core.judging.providers.openai_batches import batch_lines, name_in
from traitvec_core.judging.reading import (
    UnusableAnswerError,
    read_json_score,
    read_text_score,
    score_of,
)
from traitvec_core.remote.answers import check_token_counts, object_in, part_of
from traitvec_core.remote.calls import CallError
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.sdk_errors import translate_sdk_errors

__all__ = ["AnthropicModel"]

_TOKENS = 256
# Reasoning counts towards the same limit.
_THINKING_TOKENS = 4096
_TOOL = "give_score"
_BATCHES = "/v1/messages/batches"


class AnthropicModel(Connection):
    """A model behind `/v1/messages`."""

    provider = "anthropic"
    provider_name = "Anthropic"
    default_address = "https://api.anthropic.com"
    sdk_error = ("anthropic", "AnthropicError")
    role = "judge"
    model_setting = "judge_model"
    address_settings: ClassVar = {
        "JUDGE_API_KEY": "judge_base_url",
        "ANTHROPIC_API_KEY": "ANTHROPIC_BASE_URL",
    }

    async def open(self, timeout_s: float) -> None:
        """Connect."""
        import anthropic

        self._client = self.connected(anthropic, "AsyncAnthropic", timeout_s)

    @translate_sdk_errors
    async def post(self, body: dict[str, Any]) -> Any:
        """Send a body; returns the decoded answer."""
        # The typed method spends 2 ms on validating the body.
        data = object_in(await self._client.post("/v1/messages", body=body, cast_to=str), self)
        _blocks(data)
        check_token_counts(data, body, "input_tokens", "output_tokens")
        return data

    def request(self, prompt: str, can: Capabilities, room: int) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {
            "model": self.name,
            "max_tokens": self.most_tokens_out(can) * 4**room,
            # A lone surrogate cannot be encoded.
            "messages": [{"role": "user", "content": prompt.encode("utf-8", "replace").decode()}],
        }
        if can.temperature:
            body["temperature"] = 0
        schema = score_schema(prompt)
        if can.structured == "json_schema":
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        elif can.structured == "tool":
            body["tools"] = [
                {"name": _TOOL, "description": "Give the score.", "input_schema": schema}
            ]
            body["tool_choice"] = {"type": "tool", "name": _TOOL}
        return body

    def most_tokens_out(self, can: Capabilities) -> int:
        """Return the most tokens that an answer may have."""
        return _THINKING_TOKENS if can.thinks else _TOKENS

    def usage(self, data: Any) -> Usage:
        """Return the tokens that an answer reports."""
        usage = part_of(data, "usage")
        cached = tokens(usage, "cache_read_input_tokens")
        written = tokens(usage, "cache_creation_input_tokens")
        return Usage(
            tokens_in=tokens(usage, "input_tokens") + cached + written,
            tokens_out=tokens(usage, "output_tokens"),
            cached=cached,
        )

    async def read(self, data: Any, prompt: str, can: Capabilities, ask: Ask | None) -> Score:
        """Return the score in an answer; thinking blocks are skipped."""
        blocks = _blocks(data)
        if data.get("stop_reason") == "refusal":
            raise RefusedError("the judge refused")
        if data.get("stop_reason") == "max_tokens":
            raise UnusableAnswerError("was cut off at the token limit", is_truncated=True)
        tool_calls = [block for block in blocks if block.get("type") == "tool_use"]
        if tool_calls:
            return score_of(tool_calls[0].get("input"))
        text = "".join(
            str(block.get("text", "")) for block in blocks if block.get("type") == "text"
        )
        if not text.strip():
            raise UnusableAnswerError("answered without any text")
        return read_json_score(text) if can.structured == "json_schema" else read_text_score(text)

    # -- batches ------------------------------------------------------------------------------

    @translate_sdk_errors
    async def submit(self, requests: Mapping[str, dict[str, Any]], intent: str) -> str:
        """Submit request bodies by key; returns Anthropic's id of the batch."""
        body = {"requests": [{"custom_id": key, "params": body} for key, body in requests.items()]}
        return name_in(
            object_in(await self._client.post(_BATCHES, body=body, cast_to=str), self), "id"
        )

    async def find(self, intent: str) -> str | None:
        """Return None: Anthropic's batches cannot carry our name.

        A run that is killed between submitting a batch and recording its id submits it again.
        """
        return None

    @translate_sdk_errors
    async def poll(self, id_: str) -> BatchState:
        """Return how far a batch is."""
        import anthropic

        try:
            answer = await self._client.get(f"{_BATCHES}/{quote(id_, safe='')}", cast_to=str)
        except anthropic.NotFoundError:
            return BatchState(0, is_ended=True, is_gone=True)
        batch = object_in(answer, self)
        counts = part_of(batch, "request_counts")
        done = [counts.get(name) for name in ("succeeded", "errored", "canceled", "expired")]
        return BatchState(
            sum(number for number in done if isinstance(number, int)),
            name_in(batch, "processing_status") == "ended",
            "it was cancelled" if batch.get("cancel_initiated_at") is not None else "",
        )

    @translate_sdk_errors
    async def results(self, id_: str) -> list[BatchResult]:
        """Return the results of a batch that has ended."""
        # Not from the batch's `results_url`: the key would go to whatever host it names.
        answer = await self._client.get(f"{_BATCHES}/{quote(id_, safe='')}/results", cast_to=str)
        return [
            BatchResult(
                str(line.get("custom_id")),
                result.get("message") if result.get("type") == "succeeded" else None,
                is_expired=result.get("type") == "expired",
            )
            for line in batch_lines(answer)
            for result in [part_of(line, "result")]
        ]

    def without(
        self, complaint: str, body: dict[str, Any], can: Capabilities
    ) -> Capabilities | None:
        """Return the capabilities without the one that the server's complaint is about."""
        complaint = complaint.lower()
        if "temperature" in body and "temperature" in complaint:
            return replace(can, temperature=False)
        if "output_config" in body and re.search("output_config|output format|schema", complaint):
            return replace(can, structured="tool")
        if "tools" in body and "tool" in complaint:
            return replace(can, structured="none")
        return None


def _blocks(data: Any) -> list[dict[str, Any]]:
    blocks = data.get("content") if isinstance(data, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise CallError("again", "an answer without content")
    return blocks
