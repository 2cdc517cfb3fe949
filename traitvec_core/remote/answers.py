"""Checks what an answer with status 200 is: JSON, no error, and possible numbers of tokens."""

from typing import Any

from traitvec_core.remote.calls import CallError
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.keys import redacted
from traitvec_core.remote.sdk_errors import clipped, status_error

__all__ = ["check_token_counts", "object_of", "token_count"]

# What servers add to a prompt (a template, tools), and hidden reasoning that a limit leaves out.
_TOKENS_AROUND = 65_536


def object_of(data: Any, model: Connection) -> dict[str, Any]:
    """Return an answer that is a JSON object, and not an error.

    Raises:
        CallError: If it is anything else.
    """
    if isinstance(data, str):
        raise CallError(
            "refused",
            f"{clipped(data)[:40]!r} in place of a JSON object; check"
            f" {model.address_setting or 'the address'}",
        )
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
