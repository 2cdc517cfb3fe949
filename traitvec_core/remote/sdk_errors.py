"""Turns the errors of an SDK into `CallError`s that say whether another call can succeed."""

import re
import sys
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from traitvec_core.remote.calls import CallError
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.connection_errors import connection_error
from traitvec_core.remote.http_client import BadAnswerError
from traitvec_core.remote.keys import redacted

__all__ = ["clipped", "status_error", "translate_sdk_errors"]

_MAX_SHOWN_CHARS = 80
_TOO_LONG = re.compile(
    r"context.{0,10}(length|window)|maximum context|prompt is too long|too many tokens"
    r"|input is too long|request.{0,5}too large|reduce the length",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content.?(filter|policy|management)|safety system", re.IGNORECASE)
_NO_MONEY = re.compile(
    r"insufficient_quota|billing|credit balance|exceeded your current quota|payment|spend.?limit"
    r"|API usage limits",
    re.IGNORECASE,
)
# OpenAI's message about an ordinary rate limit suggests adding a payment method.
_IS_RATE = re.compile(r"rate_limit_exceeded|rate limit reached", re.IGNORECASE)

_C = TypeVar("_C", bound=Connection)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def translate_sdk_errors(
    method: Callable[Concatenate[_C, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[_C, _P], Coroutine[Any, Any, _T]]:
    """Make a connection's method raise `CallError` for whatever its SDK raises."""

    async def translated(model: _C, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await method(model, *args, **kwargs)
        except _sdk_errors(model) as error:
            failure = _call_error(error, model)
        # Outside the handler, so that the SDK's error, which holds the key, is not its context.
        raise failure

    update_wrapper(translated, method)
    return translated


def clipped(text: str, most_chars: int = _MAX_SHOWN_CHARS) -> str:
    """Return a text of a model or server as one short line of printable characters."""
    # A body may have megabytes, and only its beginning is shown.
    beginning = text[: 50 * most_chars]
    flat = " ".join("".join(c if c.isprintable() else " " for c in beginning).split())
    is_whole = len(flat) <= most_chars and len(beginning) == len(text)
    return flat if is_whole else f"{flat[:most_chars]}…"


def _sdk_errors(model: Connection) -> tuple[type[Exception], ...]:
    # Only modules that are loaded: each SDK takes a second to import. The HTTP libraries' errors
    # escape the SDK when a connection is lost in the middle of a long answer. ValueError comes from
    # invalid JSON and invalid headers.
    names = (
        model.sdk_error,
        ("aiohttp", "ClientError"), ("httpx", "HTTPError"), ("httpx2", "HTTPError"),
    )  # fmt: skip
    loaded = [getattr(sys.modules[sdk], name) for sdk, name in names if sdk in sys.modules]
    return (*loaded, ValueError, BadAnswerError)


def _call_error(error: Exception, model: Connection) -> CallError:
    status = getattr(error, "status_code", None)
    if status is None:
        return connection_error(error) or CallError(
            "again", f"an unreadable answer ({type(error).__name__})"
        )
    if status < 400:
        return _redirect_error(error, status, model)
    return status_error(status, redacted(_message(error)), model, _retry_after_s(error))


def _redirect_error(error: Exception, status: int, model: Connection) -> CallError:
    target = getattr(getattr(error, "response", None), "headers", {}).get("location", "")
    host = clipped(redacted(urlsplit(target).netloc.rpartition("@")[2])) or "another page"
    return CallError(
        "stop",
        f"{model.server_name} redirects to {host} ({status}), where the key is not sent; set"
        f" {model.address_setting or 'the address'} to the final address",
    )


def status_error(
    status: int, message: str, model: Connection, wait_s: float | None = None
) -> CallError:
    """Return what a refused request means.

    Args:
        status: HTTP status, 400 or more.
        message: What the server says, without keys.
        model: The connection.
        wait_s: The wait that the server asks for, in seconds.
    """
    shown = clipped(message)
    if status == 401:
        return CallError(
            "stop",
            f"{model.server_name} rejects the key (401): set {model.key_name} to a valid one, in"
            " the environment or in .env",
        )
    is_rate = status == 429 and _IS_RATE.search(message)
    if status == 402 or (status in {400, 403, 429} and _NO_MONEY.search(message) and not is_rate):
        return CallError(
            "stop",
            f"{model.server_name} reports no quota or credit left ({status}): add credit to the"
            f" account of {model.key_name}, then run again; finished work is kept",
        )
    if _FILTERED.search(message) and status < 500:
        return CallError("final", f"content filter ({status})")
    if status == 413 or (status in {400, 422} and _TOO_LONG.search(message)):
        return CallError("final", f"longer than the {model.role} can read", is_too_long=True)
    if status == 403:
        return CallError(
            "stop",
            f"{model.server_name} does not allow this key to use {model.name!r} (403: {shown});"
            f" check {model.settings}",
            complaint=message,
        )
    if status == 404:
        return CallError(
            "stop",
            f"{model.server_name} has no model {model.name!r}, or the address is wrong (404:"
            f" {shown}); check {model.settings}",
        )
    if status == 429 and "request too large" in message.lower():
        # Larger than what this account may send in a minute: waiting does not help.
        return CallError("refused", f"refused (429: {shown})")
    if status == 429 or (status in {503, 529}):
        return CallError("busy", f"busy ({status})", retry_after_s=wait_s)
    if status >= 500 or status in {408, 409, 425}:
        return CallError("again", f"server error ({status})", retry_after_s=wait_s)
    return CallError("refused", f"refused ({status}: {shown})", complaint=message)


def _message(error: Exception) -> str:
    """Return all that the server says about an error: message, parameter, code, type, details."""
    body = getattr(error, "body", None)
    inner: Any = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        parts = [inner.get(name) for name in ("message", "param", "code", "type", "details")]
        return " ".join(str(part) for part in parts if part)
    return str(inner or getattr(error, "message", "") or type(error).__name__)


def _retry_after_s(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", {})
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
    return None
