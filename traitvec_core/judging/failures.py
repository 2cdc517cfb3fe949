"""What a failed call means, in the words of both SDKs, without any key."""

import os
import re
import sys
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.calls import CallError
from traitvec_core.judging.reading import clipped

__all__ = ["KEY_NAMES", "TOO_LONG", "key_from_environment", "redacted", "translate_sdk_errors"]

KEY_NAMES = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "JUDGE_API_KEY",
    "GENERATION_API_KEY",
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    # An address that is a secret: whoever has it can post.
    "TRAITVEC_WEBHOOK_URL",
)
# Why a prompt that no judge of this context could read has no score.
TOO_LONG = "longer than the judge can read"
# Keys as they look, also when a server shows half of one, for messages that others wrote.
_KEY_LIKE = re.compile(r"\b(sk|pk|hf|gsk|xai)[-_][\w*.\-]{4,}|(?i:bearer)\s+\S+")
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
# OpenAI's message on an ordinary rate limit recommends a payment method, with a link to billing.
_IS_RATE = re.compile(r"rate_limit_exceeded|rate limit reached", re.IGNORECASE)


class _Server(Protocol):
    name: str
    key_name: str

    @property
    def server_name(self) -> str: ...


_S = TypeVar("_S", bound=_Server)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def key_from_environment(name: str) -> str | None:
    """Return a key, or None when there is none.

    Raises:
        TraitvecError: If what is there cannot be a key; the HTTP library would show it.
    """
    key = os.environ.get(name, "").strip()
    if key and not re.fullmatch(r"[!-~]+", key):
        raise TraitvecError(
            f"{name} holds a character that no key has (a space, a line break, a letter that is not"
            " ASCII); copy the key again"
        )
    return key or None


def redacted(text: str) -> str:
    """Return a text without keys: those of the environment, and whatever looks like one."""
    for name in KEY_NAMES:
        key = os.environ.get(name, "").strip()
        if len(key) >= 4:
            text = text.replace(key, "[key]")
    return _KEY_LIKE.sub("[key]", text)


def translate_sdk_errors(
    method: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]]:
    """Turn what an SDK raises into a `CallError` that says what it means for the next call."""

    async def asked(model: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await method(model, *args, **kwargs)
        except _sdk_errors() as error:
            failure = _call_error(error, model)
        # Out here, where the SDK's own is no context any more: it holds the request, and its key.
        raise failure

    update_wrapper(asked, method)
    return asked


def _sdk_errors() -> tuple[type[Exception], ...]:
    # Only those of SDKs that are in use: each takes a second to import. A lost connection reaches
    # who reads a long answer bare. ValueError is what broken JSON, or a broken header, raises.
    names = (
        ("openai", "OpenAIError"), ("anthropic", "AnthropicError"), ("aiohttp", "ClientError"),
        ("httpx", "HTTPError"), ("httpx2", "HTTPError"),
    )  # fmt: skip
    loaded = [getattr(sys.modules[sdk], name) for sdk, name in names if sdk in sys.modules]
    return (*loaded, ValueError)


def _call_error(error: Exception, model: _Server) -> CallError:
    """Return what an exception of an SDK means for the next call."""
    kind = type(error).__name__
    status = getattr(error, "status_code", None)
    cause = error.__cause__ or error.__context__
    what = type(cause).__name__ if cause is not None else "connection lost"
    if "Connection" in kind or "ConnectTimeout" in {kind, what}:
        return CallError("unreachable", what)
    if "Timeout" in kind:
        return CallError("again", "no answer in time")
    if status is None or status < 400:
        return CallError("again", f"an answer that cannot be read ({kind})")
    words = redacted(_said(error))
    said = clipped(words)
    wait = _retry_after_s(error)
    if status == 401:
        return CallError(
            "stop",
            f"{model.server_name} refuses the key (401): set {model.key_name} to a valid one, in"
            " the environment or in .env",
        )
    is_rate = status == 429 and _IS_RATE.search(words)
    if status == 402 or (status in {400, 403, 429} and _NO_MONEY.search(words) and not is_rate):
        return CallError(
            "stop",
            f"{model.server_name} says that there is no quota or credit left ({status}): add"
            f" credit to the account behind {model.key_name}, then run again; what is judged is"
            " kept",
        )
    if _FILTERED.search(words) and status < 500:
        return CallError("final", f"content filter ({status})")
    if status == 413 or (status in {400, 422} and _TOO_LONG.search(words)):
        return CallError("final", TOO_LONG)
    if status == 403:
        return CallError(
            "stop",
            f"{model.server_name} does not let this key use {model.name!r} (403: {said})",
            complaint=words,
        )
    if status == 404:
        return CallError(
            "stop",
            f"{model.server_name} has no model {model.name!r}, or the address is wrong (404:"
            f" {said}); check judge_model and judge_base_url",
        )
    if status == 429 and "request too large" in words.lower():
        # For what this account may send in a minute: waiting does not help.
        return CallError("refused", f"refused (429: {said})")
    if status == 429 or (status in {503, 529}):
        return CallError("busy", f"busy ({status})", retry_after_s=wait)
    if status >= 500 or status in {408, 409, 425}:
        return CallError("again", f"server error ({status})", retry_after_s=wait)
    return CallError("refused", f"refused ({status}: {said})", complaint=words)


def _said(error: Exception) -> str:
    """Everything that a server said about an error: type, code, parameter, message."""
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
