"""Who may ask, and how much at once: decided before a request's body is read."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Refuses requests of web pages, without the key, or that are too large; then asks the app.

    FastAPI reads and parses a body before it looks at the key.

    Args:
        app: The app behind it.
        token: What every request but `/health` must bear; None lets everyone in.
        most_bytes: Longest body.
        is_serial: Whether requests that use the model run one after the other, until they are
            answered.
    """

    def __init__(self, app: App, token: str | None, most_bytes: int, is_serial: bool) -> None:
        self._app = app
        self._token = token
        self._most_bytes = most_bytes
        self._turn = asyncio.Lock() if is_serial else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, dict(scope["headers"]))
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        if scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        body = await self._body(receive)
        if body is None:
            await _refuse(send, 413, self._too_large)
            return
        if self._turn is None:
            await self._app(scope, _Replay(body, receive), send)
            return
        async with self._turn:
            await self._app(scope, _Replay(body, receive), send)

    @property
    def _too_large(self) -> str:
        return f"a request of more than {self._most_bytes:,} bytes, which this model never needs"

    def _refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if b"origin" in headers:
            # Browsers send it with what a page asks of another origin; no client of ours does.
            return 403, "web pages may not use this server"
        if scope["path"] != "/health" and not self._is_allowed(headers.get(b"authorization", b"")):
            return 401, "missing or wrong bearer token"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._most_bytes:
            return 413, self._too_large
        return None

    def _is_allowed(self, authorization: bytes) -> bool:
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and secrets.compare_digest(given, self._token.encode())

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the whole body; None if it is too large, which its length need not say."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)


class _Replay:
    """Receives a body that was read already, and then what follows it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._first = self._first, None
        return message if message is not None else await self._receive()


async def _refuse(send: Send, status: int, detail: str) -> None:
    data = json.dumps({"detail": detail}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()),
        # The body was not read.
        (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
