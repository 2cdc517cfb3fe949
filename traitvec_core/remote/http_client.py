"""The HTTP client under an SDK: bounded answers, no redirects, and a short wait to connect.

SDKs read an answer whole before they return it. A broken or hostile server could fill the memory
with it, or send a byte now and then for ever.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

__all__ = ["BODY_S", "CONNECT_S", "BadAnswerError", "bounded_client", "most_answer_bytes"]

CONNECT_S = 5.0
# After its first byte an answer must be complete within this time, plus that of a slow network.
# Blank bytes before it do not count: some providers send them while the request waits.
BODY_S = 30.0
_SLOWEST_BYTES_PER_S = 100_000

_BASE_BYTES = 256 * 1024
# A server may echo the prompt, and its tokens as numbers.
_BYTES_PER_BYTE_SENT = 16
# Long tokens, escaped.
_BYTES_PER_TOKEN = 1024
# Twenty alternatives, each with its text, bytes and number.
_BYTES_PER_TOKEN_WITH_LOGPROBS = 16 * 1024
# Lists of models or batches; and the results of a batch, up to 50,000 answers.
_LIST_BYTES = 4 * 1024**2
_BATCH_BYTES = 2 * 1024**3


class BadAnswerError(Exception):
    """An answer that is not read to its end; the message says why."""


def bounded_client(client: Callable[..., Any]) -> Any:
    """Return an SDK's HTTP client that stops reading answers that are too long or too slow.

    It follows no redirect: a key must not reach another host.

    Args:
        client: The SDK's HTTP client class, such as `openai.DefaultAioHttpClient`.
    """
    return client(
        event_hooks={"response": [_bound]},
        follow_redirects=False,
        # Answers are short, and what is compressed has no bound.
        headers={"accept-encoding": "identity"},
    )


def most_answer_bytes(request: Any) -> int:
    """Return the longest body, in bytes, that an answer to an `httpx` request can have."""
    if request.method == "GET":
        is_of_batch = request.url.path.endswith(("/content", "/results"))
        return _BATCH_BYTES if is_of_batch else _LIST_BYTES
    if request.url.path.endswith("/batches"):
        return _LIST_BYTES
    if not request.headers.get("content-type", "").startswith("application/json"):
        return _LIST_BYTES
    body = json.loads(request.content)
    tokens = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    per_token = _BYTES_PER_TOKEN_WITH_LOGPROBS if body.get("logprobs") else _BYTES_PER_TOKEN
    if not tokens:
        return max(_LIST_BYTES, _BYTES_PER_BYTE_SENT * len(request.content))
    return _BASE_BYTES + _BYTES_PER_BYTE_SENT * len(request.content) + per_token * int(tokens)


async def _bound(response: Any) -> None:
    """Make a response's stream raise `BadAnswerError`; httpx calls this before it reads."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise BadAnswerError(f"an answer compressed by {encoding[:20]!r}, which was not asked for")
    # As JSON is; the server may name anything, even what is no encoding of text.
    response.encoding = "utf-8"
    # httpx accepts only subclasses of its own, and the SDKs use httpx or httpx2.
    bases = type(response.stream).__mro__
    bounded = _subclass(next(base for base in bases if base.__name__ == "AsyncByteStream"))
    response.stream = bounded(response.stream, most_answer_bytes(response.request))


class _BoundedStream:
    """The stream of a response up to a number of bytes, each piece in time."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    @property
    def elapsed(self) -> Any:
        """How long the request took; httpx asks for it."""
        return self._stream.elapsed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        length = 0
        started: float | None = None
        while True:
            left_s = None
            if started is not None:
                longest_s = BODY_S + length / _SLOWEST_BYTES_PER_S
                left_s = started + longest_s - time.monotonic()
            try:
                async with asyncio.timeout(left_s):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise BadAnswerError(
                    f"an answer that was not complete {BODY_S:g} s after its first byte"
                ) from None
            length += len(piece)
            if length > self._limit:
                raise BadAnswerError(
                    f"an answer of more than {self._limit:,} bytes, longer than was asked for"
                )
            if started is None and piece.strip():
                started = time.monotonic()
            yield piece

    async def aclose(self) -> None:
        """Close the connection, unless all was read."""
        await self._stream.aclose()


@cache
def _subclass(base: type) -> type:
    return type("BoundedStream", (_BoundedStream, base), {})
