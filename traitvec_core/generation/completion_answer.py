"""Reads a server's completion: what was generated, and whether it can be the answer at all."""

from dataclasses import replace
from typing import Any, cast

from traitvec_core.generation.completions_server import CompletionsServer
from traitvec_core.generation.request import Generated, Request
from traitvec_core.generation.text import read_tokens, split_thinking
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.remote.answers import token_count
from traitvec_core.remote.calls import CallError, StopError

__all__ = ["MOST_PROMPT_TOKENS", "read_completion"]

# No prompt is longer.
MOST_PROMPT_TOKENS = 10_000_000


def read_completion(
    data: dict[str, Any],
    request: Request,
    most: int,
    most_chars: int,
    model: LanguageModel,
    server: CompletionsServer,
) -> Generated:
    """Return the response in a completion of at most `most` tokens.

    Args:
        data: The answer of `CompletionsServer.complete`.
        request: What was asked for.
        most: The token limit that was asked for.
        most_chars: The longest text that so many tokens can have.
        model: Decodes token ids.
        server: The server, for messages.

    Raises:
        StopError: If the server has read another prompt.
        CallError: If the answer is longer than asked for, or a count is impossible.
    """
    choice, usage = data["choices"][0], data.get("usage")
    count = token_count(usage, "prompt_tokens", MOST_PROMPT_TOKENS)
    if count is None:
        raise CallError("refused", "no prompt_tokens in usage, which it reported before")
    if count != len(request.ids):
        raise StopError(
            f"{request.name}: {server.server_name} reads {count} tokens where the prompt"
            f" has {len(request.ids)}: {server.name!r} has another tokenizer; check"
            f" {server.settings}"
        )
    n_written = token_count(usage, "completion_tokens", most)
    text, ids = choice["text"], choice.get("token_ids")
    if (isinstance(ids, list) and len(ids) > most) or len(text) > most_chars:
        raise CallError("refused", f"an answer longer than the {most} tokens asked for")
    finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
    generated = _read_ids(text, ids, request, model)
    if generated is not None:
        return replace(generated, finish_reason=finish_reason)
    thinking, response = split_thinking(text, request.prompt)
    if n_written is None:
        n_written = len(model.tokenizer(text)["input_ids"])
    return Generated(
        name=request.name,
        response=response,
        thinking=thinking,
        prompt_tokens=len(request.ids),
        response_tokens=n_written,
        finish_reason=finish_reason,
    )


def _read_ids(text: str, ids: Any, request: Request, model: LanguageModel) -> Generated | None:
    """Read the returned token ids; None where there are none, or they are not the text's."""
    if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
        return None
    n_known = len(model.tokenizer)
    if not all(0 <= token < n_known for token in ids):
        return None
    generated = read_tokens(model, request, ids)
    if generated.ids is None:
        return None
    tokenizer = cast(Any, model.tokenizer)
    decoded = tokenizer.decode(list(generated.ids), skip_special_tokens=True)
    return generated if _bare(decoded) == _bare(text) else None


def _bare(text: str) -> str:
    """Return a text without what servers decode differently: its ends, and half a character."""
    return text.rstrip("\ufffd").strip()
