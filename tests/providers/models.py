"""Models as their APIs behave: which parameters they refuse, and how they write a number."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tests.providers.replies import (
    Call,
    Json,
    Position,
    Reply,
    Responder,
    anthropic_answer,
    anthropic_error,
    anthropic_model_not_found,
    openai_answer,
    openai_error,
    openai_model_not_found,
    openai_unknown_parameter,
    openai_unsupported_parameter,
    openai_unsupported_value,
    vllm_error,
)

END_OF_TURN = "<|im_end|>"
ScoreOf = Callable[[str], int]
Distribution = Mapping[int, float]
DistributionOf = Callable[[str], Distribution]

_OPENAI_FIELDS = (
    "model messages temperature top_p max_tokens max_completion_tokens logprobs top_logprobs "
    "response_format reasoning_effort seed stop n user metadata store stream service_tier tools "
    "tool_choice parallel_tool_calls logit_bias presence_penalty frequency_penalty verbosity "
    "prompt_cache_key safety_identifier"
)
_ANTHROPIC_FIELDS = (
    "model messages max_tokens system temperature top_p top_k stop_sequences stream metadata "
    "service_tier thinking tools tool_choice output_config inference_geo cache_control"
)


def stable_score(prompt: str) -> int:
    """A score of 0–100 that depends on the prompt alone: SHA-256 modulo 101."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big") % 101


def spread(score: int) -> dict[int, float]:
    """Most of the mass on a score, the rest beside it."""
    near = {score - 5: 0.1, score: 0.6, score + 5: 0.2, score + 10: 0.1}
    return {number: p for number, p in near.items() if 0 <= number <= 100}


def by_model(call: Call) -> Reply:
    """The model that the request names; 404 for one that is not here."""
    model = str(call.body.get("model", ""))
    for start, responder in _MODELS.items():
        if model.startswith(start):
            return responder(call)
    not_found = {"openai": openai_model_not_found, "anthropic": anthropic_model_not_found}
    return not_found[call.provider](model)


# ---------------------------------------------------------------------------- OpenAI


def gpt_5_mini(
    call: Call, *, score_of: ScoreOf = stable_score, reasoning_tokens: int = 64
) -> Reply:
    """A reasoning model: it thinks within max_completion_tokens, and takes no sampling options."""
    body = call.body
    refusal = refusal_of_openai_fields(body)
    if refusal:
        return refusal
    if body.get("max_tokens") is not None:
        return openai_unsupported_parameter("max_tokens", "max_completion_tokens")
    for param in ("temperature", "top_p"):
        if body.get(param) not in (None, 1):
            return openai_unsupported_value(param, body[param])
    for param in ("logprobs", "top_logprobs", "logit_bias", "stop"):
        if body.get(param):
            return openai_unsupported_parameter(param)
    effort = body.get("reasoning_effort") or "medium"
    if effort not in ("minimal", "low", "medium", "high"):
        supported = "Supported values are: 'minimal', 'low', 'medium', and 'high'."
        return openai_unsupported_value("reasoning_effort", effort, supported)
    thought = 0 if effort == "minimal" else reasoning_tokens
    answer = "".join(_openai_text(body, score_of(call.prompt)))
    room = body.get("max_completion_tokens") or math.inf
    spent: Json = {"prompt_tokens": _tokens(call), "model": "gpt-5-mini-2025-08-07"}
    if thought + 6 > room:
        # All of it went into thinking: the answer is an empty string, not an error.
        return openai_answer(
            "",
            finish_reason="length",
            completion_tokens=int(room),
            reasoning_tokens=min(thought, int(room)),
            **spent,
        )
    return openai_answer(answer, completion_tokens=thought + 6, reasoning_tokens=thought, **spent)


def gpt_4_1_mini(
    call: Call,
    *,
    score_of: ScoreOf = stable_score,
    distribution_of: DistributionOf | None = None,
) -> Reply:
    """A model that says every number up to 100 in one token, with log-probabilities.

    `distribution_of` (prompt → number → probability) defaults to `spread(score_of(prompt))`; the
    content is its likeliest number.
    """
    body = call.body
    refusal = refusal_of_openai_fields(body)
    if refusal:
        return refusal
    if body.get("reasoning_effort") is not None:
        return openai_unsupported_parameter("reasoning_effort")
    listed = body.get("top_logprobs") or 0
    if listed and not body.get("logprobs"):
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        return openai_error(400, message, param="top_logprobs")
    if listed > 20:
        message = "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20."
        return openai_error(400, message, param="top_logprobs", code="integer_above_max_value")
    numbers = distribution_of(call.prompt) if distribution_of else spread(score_of(call.prompt))
    score = max(numbers, key=lambda number: numbers[number])
    before, number, behind = _openai_text(body, score)
    positions: list[Position] = [(before, {before: 1.0})] if before else []
    positions.append((number, {str(n): p for n, p in numbers.items()}))
    if behind:
        positions.append((behind, {behind: 1.0}))
    room = body.get("max_completion_tokens") or body.get("max_tokens") or math.inf
    said = positions[: int(min(room, len(positions)))]
    return openai_answer(
        "".join(token for token, _ in said),
        prompt_tokens=_tokens(call),
        completion_tokens=len(said),
        # The end of the turn is a token too, so one token of room is never enough to "stop".
        finish_reason="stop" if len(said) < room else "length",
        logprobs=said if body.get("logprobs") else None,
        top_logprobs=listed,
    )


def refusal_of_openai_fields(body: Json) -> Reply | None:
    """What OpenAI answers to fields or a schema that it does not accept; None if it does."""
    for param in sorted(body.keys() - set(_OPENAI_FIELDS.split())):
        return openai_unknown_parameter(param)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not allowed"
        return openai_error(400, message, code="invalid_parameter_combination")
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        described = wanted.get("json_schema") or {}
        if not described.get("name"):
            param = "response_format.json_schema.name"
            message = f"Missing required parameter: '{param}'."
            return openai_error(400, message, param=param, code="missing_required_parameter")
        schema = described.get("schema") or {}
        complaint = None
        if described.get("strict") and schema.get("additionalProperties") is not False:
            complaint = "'additionalProperties' is required to be supplied and to be false."
        elif described.get("strict") and {*schema["properties"]} != {*schema.get("required", ())}:
            complaint = (
                "'required' is required to be supplied and to be an array including every key "
                "in properties."
            )
        if complaint:
            message = f"Invalid schema for response_format '{described['name']}': In context=(), "
            return openai_error(400, message + complaint, param="response_format")
    return None


def _openai_text(body: Json, score: int) -> tuple[str, str, str]:
    """The answer, split in what comes before the number, the number and the rest."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return "", str(score), ""
    filled = json.dumps(_filled(wanted["json_schema"]["schema"], score))
    before, _, behind = filled.partition(str(score))
    return before, str(score), behind


def _filled(schema: Json, score: int) -> Json:
    """An object of a schema: the score for every number in it, a word for everything else."""
    properties: Mapping[str, Any] = schema.get("properties") or {"score": {"type": "integer"}}
    return {
        name: score if "integer" in json.dumps(kind) else "because"
        for name, kind in properties.items()
    }


def _tokens(call: Call) -> int:
    return 8 + len(call.prompt) // 4


# ---------------------------------------------------------------------------- Anthropic


def claude_haiku_4_5(call: Call, *, score_of: ScoreOf = stable_score) -> Reply:
    """A model with structured output in `output_config.format`."""
    if call.body.get("temperature") is not None and call.body.get("top_p") is not None:
        message = (
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one."
        )
        return anthropic_error(400, "invalid_request_error", message)
    return _claude(call, score_of, "claude-haiku-4-5-20251001", {*_ANTHROPIC_FIELDS.split()})


def claude_opus_4_7(call: Call, *, score_of: ScoreOf = stable_score) -> Reply:
    """A model that takes no sampling options."""
    for param in ("temperature", "top_p", "top_k"):
        if call.body.get(param) is not None:
            message = f"`{param}` is deprecated for this model."
            return anthropic_error(400, "invalid_request_error", message)
    return _claude(call, score_of, "claude-opus-4-7", {*_ANTHROPIC_FIELDS.split()})


def claude_3_5_haiku(call: Call, *, score_of: ScoreOf = stable_score) -> Reply:
    """A model that knows no `output_config`, but calls a tool when forced to."""
    fields = {*_ANTHROPIC_FIELDS.split()} - {"output_config", "thinking"}
    return _claude(call, score_of, "claude-3-5-haiku-20241022", fields)


def _claude(call: Call, score_of: ScoreOf, model: str, fields: set[str]) -> Reply:
    body = call.body
    complaint = complaint_of_anthropic(body, fields)
    if complaint:
        return anthropic_error(400, "invalid_request_error", complaint)
    score = score_of(call.prompt)
    spent: Json = {"input_tokens": _tokens(call), "model": model}
    wanted = (body.get("output_config") or {}).get("format")
    choice = body.get("tool_choice") or {}
    if choice.get("type") in ("tool", "any"):
        tools = {tool["name"]: tool for tool in body["tools"]}
        tool = tools[choice.get("name", next(iter(tools)))]
        filled = _filled(tool["input_schema"], score)
        return anthropic_answer(
            tool_input=filled, tool_name=tool["name"], output_tokens=30, **spent
        )
    if wanted:
        return anthropic_answer(json.dumps(_filled(wanted["schema"], score)), **spent)
    return anthropic_answer(str(score), output_tokens=4, **spent)


def complaint_of_anthropic(body: Json, fields: set[str]) -> str | None:
    """What Anthropic says against a body, where a model knows these fields; None if nothing."""
    for name in sorted(body.keys() - fields):
        return f"{name}: Extra inputs are not permitted"
    if body.get("max_tokens") is None:
        return "max_tokens: Field required"
    if not 0 <= (body.get("temperature") or 0) <= 1:
        return "temperature: range: 0..1"
    choice = body.get("tool_choice") or {}
    forced = choice.get("type") in ("tool", "any")
    if forced and choice.get("name", "") not in {"", *(t["name"] for t in body.get("tools", ()))}:
        return f"tool_choice: Tool '{choice['name']}' not found in provided tools"
    if forced and (body.get("thinking") or {}).get("type") == "enabled":
        return "Thinking may not be enabled when tool_choice forces tool use."
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    if schema is None:
        return None
    if schema.get("additionalProperties") is not False:
        return (
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        )
    for kind in schema.get("properties", {}).values():
        bounds = sorted(kind.keys() & {"minimum", "maximum", "multipleOf"})
        if bounds:
            named = ", ".join(bounds)
            return (
                f"output_config.format.schema: For '{kind['type']}' type, properties {named} are "
                "not supported"
            )
    return None


# ---------------------------------------------------------------------------- vLLM


def qwen_on_vllm(
    distribution: Distribution | DistributionOf,
    *,
    non_number: Mapping[str, float] | None = None,
    after_number: Mapping[str, float] | None = None,
    ignores_prefill: bool = False,
    refuses_prefill: bool = False,
) -> Responder:
    """A model on vLLM whose tokenizer writes a number digit by digit.

    Args:
        distribution: Number → probability, or a function from the prompt to that.
        non_number: Other first tokens and their probabilities ("I" of "I cannot"). The sum of
            both should be 1; both are scaled if it is not.
        after_number: What follows a finished number, shares of 1; the end of the turn by default.
        ignores_prefill: Answer as if asked anew, as a server that does not know
            `continue_final_message` does.
        refuses_prefill: 400 to `continue_final_message`.
    """
    follows = after_number or {END_OF_TURN: 1.0}

    def respond(call: Call) -> Reply:
        body = call.body
        continues = bool(body.get("continue_final_message"))
        if continues and refuses_prefill:
            return vllm_error("continue_final_message: Extra inputs are not permitted")
        if continues and not ignores_prefill and body.get("add_generation_prompt", True):
            message = (
                "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            )
            return vllm_error(message)
        listed = body.get("top_logprobs") or 0
        if listed > 20:
            message = f"Requested sample logprobs of {listed}, which is greater than max allowed: "
            return vllm_error(f"{message}20")
        numbers = distribution(call.prompt) if callable(distribution) else distribution
        prefix = call.prefill if continues and not ignores_prefill else ""
        room = body.get("max_completion_tokens") or body.get("max_tokens") or 16
        said: list[Position] = []
        written = ""
        while len(said) < room and (not said or said[-1][0] != END_OF_TURN):
            options = next_token(numbers, prefix + written, non_number or {}, follows)
            token = max(options, key=lambda t: options[t])
            said.append((token, options))
            written += "" if token == END_OF_TURN else token
        reply = openai_answer(
            written,
            prompt_tokens=_tokens(call),
            completion_tokens=len(said),
            finish_reason="stop" if said[-1][0] == END_OF_TURN else "length",
            # Unlike OpenAI, vLLM lists the end of the turn as a position of its own.
            logprobs=said if body.get("logprobs") else None,
            top_logprobs=listed,
            model=str(body.get("model")),
        )
        assert isinstance(reply.body, dict)
        del reply.body["service_tier"]
        return reply

    return respond


def next_token(
    numbers: Distribution,
    written: str,
    non_number: Mapping[str, float],
    after_number: Mapping[str, float],
) -> dict[str, float]:
    """Distribution of the token behind `written`, for a tokenizer with one token a digit."""
    masses: dict[str, float] = {}
    for number, p in numbers.items():
        text = str(number)
        if text == written:
            for token, share in after_number.items():
                masses[token] = masses.get(token, 0.0) + p * share
        elif text.startswith(written):
            digit = text[len(written)]
            masses[digit] = masses.get(digit, 0.0) + p
    if not written:
        for token, p in non_number.items():
            masses[token] = masses.get(token, 0.0) + p
    total = sum(masses.values())
    # Behind anything that begins no number there is nothing more to say.
    return {t: p / total for t, p in masses.items()} if total else {END_OF_TURN: 1.0}


_MODELS: dict[str, Responder] = {
    "gpt-5": gpt_5_mini,
    "gpt-4": gpt_4_1_mini,
    "claude-3-5-haiku": claude_3_5_haiku,
    "claude-opus": claude_opus_4_7,
    "claude": claude_haiku_4_5,
    "Qwen": qwen_on_vllm(lambda prompt: spread(stable_score(prompt))),
}
