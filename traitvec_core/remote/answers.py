"""Checks what an answer with status 200 is: JSON, no error, and possible numbers of tokens.

Every body of a server is read here. How long it may be is checked in `http_client`.
"""

import json
from collections.abc import Callable
from typing import Any

from traitvec_core.remote.calls import CallError
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.keys import redacted
from traitvec_core.remote.sdk_errors import clipped, status_error

__all__ = ["check_token_counts", "object_in", "parse_json", "part_of", "token_count"]

# What servers add to a prompt (a template, tools), and hidden reasoning that a limit leaves out.
_TOKENS_AROUND = 65_536
# No API nests deeper than a dozen. What is deeper could end a later step that goes through it.
_MOST_LEVELS = 64


def parse_json(
    text: str | bytes | bytearray,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Decode JSON that a server, or a model behind it, has written.

    Args:
        text: The JSON.
        object_pairs_hook: Makes something else than a dict of an object, as in `json.loads`.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    try:
        value = json.loads(text, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError("nested too deeply")


def object_in(text: str, model: Connection) -> dict[str, Any]:
    """Return the JSON object in the body of an answer, if it is not an error.

    Raises:
        CallError: If it is anything else.
    """
    try:
        data = parse_json(text)
    except json.JSONDecodeError:
        raise _no_json(text, model) from None
    except ValueError as broken:
        raise CallError("refused", f"an unreadable answer: JSON {broken}") from None
    if not isinstance(data, dict):
        raise CallError("again", "an answer that is no JSON object")
    error = data if data.get("object") == "error" else data.get("error")
    if not error:
        return data
    code = error.get("code") if isinstance(error, dict) else None
    message = redacted(str(error.get("message", error) if isinstance(error, dict) else error))
    if isinstance(code, int) and 400 <= code < 600:
        raise status_error(code, message, model)
    raise CallError("again", f"an error in place of an answer: {clipped(message)}")


def _no_json(text: str, model: Connection) -> CallError:
    if not text.strip():
        return CallError("again", "an empty answer")
    if text.lstrip()[0] in "{[":
        # Cut short, or broken on its way.
        return CallError("again", "an unreadable answer")
    shown = clipped(redacted(text[:1000]))[:40]
    setting = model.address_setting or "the address"
    return CallError("refused", f"{shown!r} in place of a JSON object; check {setting}")


def part_of(data: Any, name: str) -> dict[str, Any]:
    """Return an object inside an answer; empty when there is none."""
    part = data.get(name) if isinstance(data, dict) else None
    return part if isinstance(part, dict) else {}


def token_count(usage: Any, name: str, most: int) -> int | None:
    """Return a number of tokens that a server reports; None when it reports none.

    Raises:
        CallError: If it is no whole number, negative, or more than is possible.
    """
    number = usage.get(name) if isinstance(usage, dict) else None
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= most:
        raise CallError(
            "refused",
            f"an absurd count: {name} is {clipped(str(number))[:24]}, where 0 to {most} are"
            " possible",
        )
    return number


def check_token_counts(data: dict[str, Any], body: dict[str, Any], read: str, written: str) -> None:
    """Refuse counts of tokens that no answer to a chat request can have.

    Generous, since templates and hidden reasoning count: what is refused would falsify costs.

    Args:
        data: The answer.
        body: The request.
        read: The name of the count of input tokens.
        written: The name of the count of output tokens.

    Raises:
        CallError: If a count is impossible.
    """
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    # No tokenizer makes more than one token per byte, and a message has at most six per character.
    n_bytes = 6 * len(str(body.get("messages", "")))
    token_count(data.get("usage"), read, n_bytes + _TOKENS_AROUND)
    token_count(data.get("usage"), written, limit + _TOKENS_AROUND)
