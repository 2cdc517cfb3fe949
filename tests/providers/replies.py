"""What a provider says on the wire: good answers, and errors in each provider's own shape."""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Provider = Literal["openai", "anthropic"]
Json = dict[str, Any]
# What was sampled, and the distribution that it was sampled from.
Position = tuple[str, Mapping[str, float]]
NOT_LISTED = -9999.0

_serial = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """One request for an answer, alone or as part of a batch.

    Attributes:
        provider: Whose wire format it came in.
        path: "/v1/chat/completions" or "/v1/messages".
        headers: Names in lower case. Those of the batch's creation for a request in a batch.
        body: The parsed JSON.
        prompt: Text of the last user message.
        prefill: Text of an assistant message behind it; "" if there is none.
        number: Running count of calls, from 0.
        attempt: How many calls before had this prompt and this prefill.
        in_batch: Whether it is part of a batch.
    """

    provider: Provider
    path: str
    headers: Mapping[str, str]
    body: Json
    prompt: str
    prefill: str
    number: int
    attempt: int
    in_batch: bool = False


@dataclass(frozen=True)
class Reply:
    """What the server does with a call.

    Attributes:
        status: HTTP status.
        body: A dict goes out as JSON, text and bytes as they are.
        headers: Besides content-type (JSON unless given), content-length and the request's id.
        latency_s: Wait before acting; None for the server's own.
        action: "answer"; "drop" closes the socket without a byte; "drop_midway" closes it in the
            middle of the body; "hang" answers after `hang_s`; "trickle" spreads the body over
            `hang_s`, so that no single read takes long.
        hang_s: See `action`. Nothing happens any more once the client has closed.
    """

    status: int = 200
    body: Json | str | bytes = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_s: float | None = None
    action: Literal["answer", "drop", "drop_midway", "hang", "trickle"] = "answer"
    hang_s: float = 30.0

    @property
    def is_usable(self) -> bool:
        """Whether a client gets an answer of the model out of it (and has paid for one)."""
        if self.status != 200 or self.action.startswith("drop") or not isinstance(self.body, dict):
            return False
        if self.body.get("type") == "message":
            kinds = {block["type"] for block in self.body["content"]}
            finished = self.body["stop_reason"] in ("end_turn", "tool_use", "stop_sequence")
            return finished and bool(kinds & {"text", "tool_use"})
        choice = next(iter(self.body.get("choices", ())), None)
        if choice is None or not choice["message"]["content"]:
            return False
        # One token of an answer, with its alternatives, is all that some clients ask for.
        cut_on_purpose = choice["finish_reason"] == "length" and choice.get("logprobs")
        return choice["finish_reason"] == "stop" or bool(cut_on_purpose)


Responder = Callable[[Call], Reply]


def fresh_id(prefix: str) -> str:
    """An id that no other object of this process has."""
    return f"{prefix}{next(_serial):024x}"


# ---------------------------------------------------------------------------- good answers


def openai_answer(
    content: str | None,
    *,
    prompt_tokens: int = 100,
    completion_tokens: int = 1,
    finish_reason: str = "stop",
    refusal: str | None = None,
    reasoning_tokens: int = 0,
    cached_tokens: int = 0,
    logprobs: Sequence[Position] | None = None,
    top_logprobs: int = 20,
    reasoning_content: str | None = None,
    model: str = "gpt-4.1-mini-2025-04-14",
) -> Reply:
    """A chat completion. `completion_tokens` is the total and includes `reasoning_tokens`.

    Args:
        logprobs: Per generated token what was sampled, and token → probability (need not be
            all); None if the request did not ask.
        top_logprobs: At most so many alternatives a position, the most likely first.
        reasoning_content: As DeepSeek and vLLM's reasoning parsers add to the message.
    """
    message: Json = {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}
    if reasoning_content is not None:
        message["reasoning_content"] = reasoning_content
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None
        if logprobs is None
        else {"content": [_position(*p, top_logprobs) for p in logprobs], "refusal": None},
        "finish_reason": finish_reason,
    }
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return Reply(
        body={
            "id": fresh_id("chatcmpl-"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": None,
        }
    )


def _position(sampled: str, alternatives: Mapping[str, float], limit: int) -> Json:
    ranked = sorted(alternatives.items(), key=lambda item: -item[1])
    ranked = [(token, p) for token, p in ranked if p > 0][:limit]
    return {
        **_token(sampled, alternatives.get(sampled, 0.0)),
        "top_logprobs": [_token(token, p) for token, p in ranked],
    }


def _token(token: str, probability: float) -> Json:
    logprob = math.log(probability) if probability > 0 else NOT_LISTED
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def openai_no_choices() -> Reply:
    """A 200 with an empty list of choices."""
    reply = openai_answer("")
    assert isinstance(reply.body, dict)
    return Reply(body={**reply.body, "choices": []})


def openai_content_filtered(content: str | None = None) -> Reply:
    """A 200 whose content was withheld."""
    return openai_answer(content, finish_reason="content_filter", completion_tokens=0)


def anthropic_answer(
    content_text: str | None = None,
    *,
    tool_input: Json | None = None,
    tool_name: str = "score",
    input_tokens: int = 100,
    output_tokens: int = 10,
    cache_read_input_tokens: int = 0,
    stop_reason: str | None = None,
    thinking: str | None = None,
    model: str = "claude-haiku-4-5-20251001",
) -> Reply:
    """A message: thinking, then text, then a tool call, whichever are given.

    `stop_reason` None means "tool_use" with a tool call and "end_turn" without.
    """
    content: list[Json] = []
    if thinking is not None:
        content.append({"type": "thinking", "thinking": thinking, "signature": "c2lnbmVk"})
    if content_text is not None:
        content.append({"type": "text", "text": content_text})
    if tool_input is not None:
        content.append(
            {"type": "tool_use", "id": fresh_id("toolu_"), "name": tool_name, "input": tool_input}
        )
    return Reply(
        body={
            "id": fresh_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": stop_reason or ("end_turn" if tool_input is None else "tool_use"),
            "stop_sequence": None,
            "usage": {
                "input_tokens": input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": cache_read_input_tokens,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": output_tokens,
                "service_tier": "standard",
            },
        }
    )


# ---------------------------------------------------------------------------- errors


def openai_error(
    status: int,
    message: str,
    *,
    type: str | None = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An error as api.openai.com puts it."""
    error = {"message": message, "type": type, "param": param, "code": code}
    return Reply(status, {"error": error}, headers or {})


def anthropic_error(
    status: int,
    type: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    error_code: str | None = None,
) -> Reply:
    """An error as api.anthropic.com puts it; few have a code, inside `details`."""
    error: Json = {"type": type, "message": message}
    if error_code:
        error["details"] = {"error_code": error_code}
    return Reply(
        status,
        {"type": "error", "error": error, "request_id": fresh_id("req_")},
        headers or {},
    )


def vllm_error(message: str, status: int = 400, *, is_nested: bool = True) -> Reply:
    """An error as vLLM puts it: `code` is a number; flat in versions before 0.10."""
    kind = {400: "BadRequestError", 404: "NotFoundError"}.get(status, "InternalServerError")
    error = {"message": message, "type": kind, "param": None, "code": status}
    return Reply(status, {"error": error} if is_nested else {"object": "error", **error})


def openai_wrong_key(key: str, *, is_whole: bool = False) -> Reply:
    """401; shows the key with its middle hidden, as OpenAI does, or whole, as a bad proxy would."""
    hides = len(key) > 12 and not is_whole
    shown = key[:8] + "*" * (len(key) - 12) + key[-4:] if hides else key
    message = (
        f"Incorrect API key provided: {shown}. You can find your API key at "
        "https://platform.openai.com/account/api-keys."
    )
    return openai_error(401, message, code="invalid_api_key")


def openai_insufficient_quota() -> Reply:
    """429 that no waiting cures."""
    message = (
        "You exceeded your current quota, please check your plan and billing details. For more "
        "information on this error, read the docs: "
        "https://platform.openai.com/docs/guides/error-codes/api-errors."
    )
    return openai_error(429, message, type="insufficient_quota", code="insufficient_quota")


def openai_rate_limit(
    retry_after_s: float | None = None, retry_after_ms: float | None = None
) -> Reply:
    """429 that waiting cures."""
    message = (
        "Rate limit reached for gpt-4.1-mini in organization org-fake on tokens per min (TPM): "
        "Limit 200000, Used 199800, Requested 400. Please try again in 60ms. Visit "
        "https://platform.openai.com/account/rate-limits to learn more."
    )
    headers = _retry_headers(retry_after_s, retry_after_ms)
    return openai_error(429, message, type="tokens", code="rate_limit_exceeded", headers=headers)


def _retry_headers(after_s: float | None, after_ms: float | None = None) -> dict[str, str]:
    wanted = {"retry-after": after_s, "retry-after-ms": after_ms}
    return {name: f"{value:g}" for name, value in wanted.items() if value is not None}


def openai_server_error(status: int = 500) -> Reply:
    """500, or 503 when overloaded."""
    message = "The server had an error while processing your request. Sorry about that!"
    if status == 503:
        message = "The engine is currently overloaded, please try again later."
    return openai_error(status, message, type="server_error")


def openai_model_not_found(model: str) -> Reply:
    """404, worded as for a key without access."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return openai_error(404, message, code="model_not_found")


def openai_unsupported_parameter(param: str, instead: str | None = None) -> Reply:
    """400, e.g. for `max_tokens`, with `max_completion_tokens` to use instead."""
    message = f"Unsupported parameter: '{param}' is not supported with this model."
    if instead:
        message += f" Use '{instead}' instead."
    return openai_error(400, message, param=param, code="unsupported_parameter")


def openai_unsupported_value(param: str, value: object, supported: str | None = None) -> Reply:
    """400, e.g. for a temperature of 0."""
    shown = repr(value) if isinstance(value, str) else value
    supported = supported or "Only the default (1) value is supported."
    message = f"Unsupported value: '{param}' does not support {shown} with this model. {supported}"
    return openai_error(400, message, param=param, code="unsupported_value")


def openai_unknown_parameter(param: str) -> Reply:
    """400 for a field that the API has never heard of."""
    message = f"Unknown parameter: '{param}'."
    return openai_error(400, message, param=param, code="unknown_parameter")


def openai_logprobs_forbidden() -> Reply:
    """403: what some reasoning models say to `logprobs` instead of a 400 that names it."""
    return openai_error(403, "You are not allowed to request logprobs from this model")


def openai_context_exceeded() -> Reply:
    """400 for a prompt that is too long."""
    message = (
        "This model's maximum context length is 128000 tokens. However, your messages resulted "
        "in 210000 tokens. Please reduce the length of the messages."
    )
    return openai_error(400, message, param="messages", code="context_length_exceeded")


def azure_content_filter() -> Reply:
    """400 by Azure's filter on prompts."""
    message = (
        "The response was filtered due to the prompt triggering Azure OpenAI's content management "
        "policy. Please modify your prompt and retry. To learn more about our content filtering "
        "policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
    )
    safe = {"filtered": False, "severity": "safe"}
    found = {
        "hate": safe,
        "jailbreak": {"filtered": False, "detected": False},
        "self_harm": safe,
        "sexual": safe,
        "violence": {"filtered": True, "severity": "medium"},
    }
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found}
    error = {"message": message, "type": None, "param": "prompt", "code": "content_filter"}
    return Reply(400, {"error": {**error, "status": 400, "innererror": inner}})


def anthropic_wrong_key() -> Reply:
    """401."""
    return anthropic_error(401, "authentication_error", "invalid x-api-key")


def anthropic_rate_limit(retry_after_s: float | None = None) -> Reply:
    """429."""
    message = (
        "This request would exceed your organization's rate limit of 50,000 input tokens per "
        "minute. For details, refer to: https://docs.claude.com/en/api/rate-limits."
    )
    return anthropic_error(429, "rate_limit_error", message, _retry_headers(retry_after_s))


def anthropic_spend_limit() -> Reply:
    """429 that no waiting cures: told from a rate limit by its code."""
    message = "You have reached your specified API usage limits."
    code = "enforced_spend_limit_reached"
    return anthropic_error(429, "rate_limit_error", message, error_code=code)


def anthropic_server_error() -> Reply:
    """500."""
    return anthropic_error(500, "api_error", "Internal server error")


def anthropic_overloaded() -> Reply:
    """529."""
    return anthropic_error(529, "overloaded_error", "Overloaded")


def anthropic_low_credit() -> Reply:
    """400 that no change to the request cures."""
    message = (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
        "to upgrade or purchase credits."
    )
    return anthropic_error(400, "invalid_request_error", message)


def anthropic_billing() -> Reply:
    """402: what a linked or suspended account gets where others get the 400 above."""
    return anthropic_error(402, "billing_error", "Your account cannot be billed.")


def anthropic_model_not_found(model: str) -> Reply:
    """404."""
    return anthropic_error(404, "not_found_error", f"model: {model}")


def anthropic_prompt_too_long() -> Reply:
    """400."""
    message = "prompt is too long: 210000 tokens > 200000 maximum"
    return anthropic_error(400, "invalid_request_error", message)


def malformed_json(status: int = 200) -> Reply:
    """Half a JSON object that says it is JSON."""
    return Reply(status, b'{"id": "chatcmpl-1", "choices": [{"mess')


def html_page(status: int = 502) -> Reply:
    """What a gateway says when the API behind it does not."""
    page = (
        "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>\n"
        "<center><h1>502 Bad Gateway</h1></center>\n<hr><center>cloudflare</center>\n"
        "</body>\n</html>\n"
    )
    return Reply(status, page, {"content-type": "text/html; charset=UTF-8"})
