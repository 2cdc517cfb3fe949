"""Judges behind OpenAI's chat completions, or a server with the same API."""

import asyncio
import re
from dataclasses import replace
from math import exp, isnan
from typing import Any, ClassVar

from traitvec_core.judging.asking import (
    Ask,
    Learned,
    RefusedError,
    Score,
    Usage,
)
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.openai_batches import OpenAIBatches
from traitvec_core.judging.reading import (
    UnusableAnswerError,
    is_nearly,
    is_number,
    number_mass,
    read_json_score,
    read_text_score,
    weighted_score,
)
from traitvec_core.remote.answers import check_token_counts, object_in, part_of
from traitvec_core.remote.calls import CallError
from traitvec_core.remote.sdk_errors import clipped, translate_sdk_errors

__all__ = ["OpenAIModel", "score_schema", "tokens"]

_PATH = "/chat/completions"
# "100" in three tokens, and the end of the turn.
_WEIGHTED_TOKENS = 4
_TEXT_TOKENS = 16
_STRUCTURED_TOKENS = 64
_THINKING_TOKENS = 4096
# The most that OpenAI and vLLM return.
_TOP_LOGPROBS = 20
# More in one answer is no count. The store could not keep it either.
_MOST_TOKENS = 100_000_000


class OpenAIModel(OpenAIBatches):
    """A model behind `/chat/completions`, of OpenAI or of a server with the same API."""

    provider = "openai"
    provider_name = "OpenAI"
    default_address = "https://api.openai.com/v1"
    sdk_error = ("openai", "OpenAIError")
    role = "judge"
    model_setting = "judge_model"
    address_settings: ClassVar = {
        "JUDGE_API_KEY": "judge_base_url",
        "OPENAI_API_KEY": "OPENAI_BASE_URL",
    }
    # Whether the server continues the beginning of an answer; None until that is known.
    _continues: bool | None = None
    _checking: asyncio.Lock

    async def open(self, timeout_s: float) -> None:
        """Connect."""
        import openai

        self._checking = asyncio.Lock()
        self._client = self.connected(openai, "AsyncOpenAI", timeout_s)

    @translate_sdk_errors
    async def post(self, body: dict[str, Any]) -> Any:
        """Send a body; returns the decoded answer."""
        # The typed method spends 2 ms on validating the body.
        data = object_in(await self._client.post(_PATH, body=body, cast_to=str), self)
        _choice(data)
        check_token_counts(data, body, "prompt_tokens", "completion_tokens")
        return data

    def request(self, prompt: str, can: Capabilities, room: int) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {
            "model": self.name,
            # A lone surrogate cannot be encoded.
            "messages": [{"role": "user", "content": prompt.encode("utf-8", "replace").decode()}],
            can.limit_name: self.most_tokens_out(can) * 4**room,
        }
        if can.temperature:
            body["temperature"] = 0
        if can.effort:
            body["reasoning_effort"] = "low"
        if can.scoring == "weighted":
            body |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
        elif can.scoring == "structured":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "judgement",
                    "strict": True,
                    "schema": score_schema(prompt),
                },
            }
        return body

    def most_tokens_out(self, can: Capabilities) -> int:
        """Return the most tokens that an answer may have."""
        if can.thinks:
            return _THINKING_TOKENS
        return {
            "weighted": _WEIGHTED_TOKENS,
            "structured": _STRUCTURED_TOKENS,
            "text": _TEXT_TOKENS,
        }[can.scoring]

    def usage(self, data: Any) -> Usage:
        """Return the tokens that an answer reports."""
        usage = part_of(data, "usage")
        return Usage(
            tokens_in=tokens(usage, "prompt_tokens"),
            tokens_out=tokens(usage, "completion_tokens"),
            cached=tokens(part_of(usage, "prompt_tokens_details"), "cached_tokens"),
        )

    async def read(self, data: Any, prompt: str, can: Capabilities, ask: Ask | None) -> Score:
        """Return the score in an answer."""
        choice = _choice(data)
        message = choice["message"]
        if choice.get("finish_reason") == "content_filter":
            raise RefusedError("content filter")
        if message.get("refusal"):
            raise RefusedError(f"the judge refused: {clipped(str(message['refusal']))}")
        content = message.get("content")
        content = content if isinstance(content, str) else ""
        if not can.thinks and _is_thinking(data, message, content):
            raise Learned(replace(can, thinks=True))
        if can.scoring == "weighted":
            return await self._read_weighted(choice, content, prompt, can, ask)
        if choice.get("finish_reason") == "length":
            raise UnusableAnswerError("was cut off at the token limit", is_truncated=True)
        return read_json_score(content) if can.scoring == "structured" else read_text_score(content)

    async def _read_weighted(
        self, choice: dict[str, Any], content: str, prompt: str, can: Capabilities, ask: Ask | None
    ) -> Score:
        tokens, following = _positions(choice)
        if not tokens and not content.strip():
            # A single odd answer, not a property of the model.
            raise UnusableAnswerError("answered without any text")
        if not tokens:
            raise Learned(replace(can, logprobs=False))
        root = following[""]
        # A tokenizer with 85 as one token has other two-digit tokens among the likeliest.
        path = _path(tokens, following)
        if any(is_number(token.strip()) and len(token.strip()) > 1 for token in root):
            mass, _ = number_mass(root, path)
        else:
            mass = await self._digit_by_digit(root, path, prompt, can, ask)
        score = weighted_score(mass)
        if score is not None:
            return score
        if re.match(r"\s*[\"'*]*REFUS", content):
            return "REFUSAL"
        raise UnusableAnswerError(
            f"too little probability on numbers ({sum(mass.values()):.2f});"
            f" answered {clipped(content)!r}"
        )

    async def _digit_by_digit(
        self,
        root: dict[str, float],
        path: dict[str, dict[str, float]],
        prompt: str,
        can: Capabilities,
        ask: Ask | None,
    ) -> dict[int, float]:
        """Return the probability of every number for a tokenizer that splits 85 into 8 and 5.

        An answer only has the tokens that may follow the digit it chose; those that follow the
        other likely digits need another request each.
        """
        mass, unknown = number_mass(root, path)
        if not can.prefill:
            if any(token.isdigit() for after in path.values() for token in after):
                raise Learned(replace(can, logprobs=False))
            return mass
        if unknown and ask is None:
            raise UnusableAnswerError("needs more than one call")
        if ask is not None and (unknown or path):
            # One at a time: the others use what the first one learns.
            async with self._checking:
                if self._continues is None:
                    await self._check_prefill(path, prompt, can, ask)
            if not self._continues:
                raise Learned(replace(can, prefill=False, logprobs=False))
        while unknown and ask is not None:
            for beginning in unknown:
                path[beginning] = await self._after(beginning, prompt, can, ask)
            mass, unknown = number_mass(root, path)
        return mass

    async def _check_prefill(
        self, path: dict[str, dict[str, float]], prompt: str, can: Capabilities, ask: Ask
    ) -> None:
        """Check that the server continues the beginning of an answer: some start a new one."""
        if not path:
            raise UnusableAnswerError("answered with no number")
        beginning = next(iter(path))
        try:
            after = await self._after(beginning, prompt, can, ask)
        except CallError as error:
            if error.kind == "changed":
                self._continues = False
            raise
        self._continues = is_nearly(path[beginning], after)

    async def _after(
        self, beginning: str, prompt: str, can: Capabilities, ask: Ask
    ) -> dict[str, float]:
        """Return the probabilities of the token after the beginning of an answer."""
        body = self.request(prompt, can, 0)
        body["messages"] = [*body["messages"], {"role": "assistant", "content": beginning}]
        # Makes vLLM and SGLang continue a message instead of answering it.
        body |= {"add_generation_prompt": False, "continue_final_message": True}
        body[can.limit_name] = 1
        _, following = _positions(_choice(await ask(body)))
        if "" not in following:
            raise Learned(replace(can, logprobs=False))
        return following[""]

    def without(
        self, complaint: str, body: dict[str, Any], can: Capabilities
    ) -> Capabilities | None:
        """Return the capabilities without the one that the server's complaint is about."""
        complaint = complaint.lower()
        if "continue_final_message" in body:
            return replace(can, prefill=False, logprobs=False)
        if can.limit_name == "max_tokens" and "max_completion_tokens" in complaint:
            return replace(can, limit_name="max_completion_tokens")
        if can.limit_name == "max_completion_tokens" and "max_completion_tokens" in complaint:
            return replace(can, limit_name="max_tokens")
        if "logprobs" in body and "logprobs" in complaint:
            return replace(can, logprobs=False)
        if "temperature" in body and "temperature" in complaint:
            return replace(can, temperature=False)
        if "reasoning_effort" in body and re.search("reasoning|effort", complaint):
            return replace(can, effort=False)
        if "response_format" in body and re.search("response_format|schema|structured", complaint):
            return replace(can, structured="none")
        return None


def score_schema(prompt: str) -> dict[str, Any]:
    """Return the schema of `{"score": n}`; REFUSAL is allowed if the prompt mentions it."""
    number: dict[str, Any] = {"type": "integer", "description": "a whole number from 0 to 100"}
    word = {"type": "string", "enum": ["REFUSAL"]}
    return {
        "type": "object",
        "properties": {"score": {"anyOf": [number, word]} if "REFUSAL" in prompt else number},
        "required": ["score"],
        "additionalProperties": False,
    }


def _choice(data: Any) -> dict[str, Any]:
    choices = data.get("choices") if isinstance(data, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or not isinstance(first.get("message"), dict):
        raise CallError("again", "an answer without choices")
    return first


def tokens(usage: dict[str, Any], name: str) -> int:
    """Return a number of tokens; 0 when the server reports none, or none that is possible."""
    number = usage.get(name)
    if not isinstance(number, int) or isinstance(number, bool):
        return 0
    return number if 0 <= number <= _MOST_TOKENS else 0


def _is_thinking(data: Any, message: dict[str, Any], content: str) -> bool:
    details = part_of(part_of(data, "usage"), "completion_tokens_details")
    hidden = message.get("reasoning_content") or message.get("reasoning")
    return bool(
        content.lstrip().startswith("<think>")
        or (hidden and not content.strip())
        or details.get("reasoning_tokens")
    )


def _positions(choice: dict[str, Any]) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Return the answer's tokens and, by the text before a position, its alternatives."""
    try:
        entries = (choice.get("logprobs") or {}).get("content") or []
        tokens: list[str] = []
        following: dict[str, dict[str, float]] = {}
        for entry in entries:
            likely = entry.get("top_logprobs") or [entry]
            following["".join(tokens)] = {
                str(top["token"]): _probability(top["logprob"]) for top in likely
            }
            tokens.append(str(entry["token"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UnusableAnswerError("answered with unreadable probabilities") from None
    return tokens, following


def _probability(logprob: Any) -> float:
    value = float(logprob)
    if isnan(value):
        raise ValueError("not a number")
    return exp(min(0.0, value))


def _path(tokens: list[str], following: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the alternatives after each beginning of the number in the answer."""
    path = {}
    for end in range(1, len(tokens)):
        written = "".join(tokens[:end])
        if not is_number(written.strip()):
            break
        path[written.strip()] = following[written]
    return path
