"""A local server that speaks OpenAI's and Anthropic's wire formats, misbehaves, and counts.

    with FakeProvider(gpt_4_1_mini) as server:
        client = AsyncOpenAI(api_key="k", base_url=server.base_url_openai)

`python -m tests.providers.server --port-file PORT --log LOG` serves from a process of its own,
which outlives a client that is killed, and not the process that started it.
"""

import argparse
import asyncio
import contextlib
import http
import json
import os
import pkgutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httptools

from tests.providers.batches import BatchSettings, BatchStore, Outcome
from tests.providers.log import ServerLog
from tests.providers.models import by_model
from tests.providers.replies import (
    Call,
    Json,
    Provider,
    Reply,
    Responder,
    anthropic_error,
    anthropic_model_not_found,
    anthropic_wrong_key,
    fresh_id,
    openai_error,
    openai_model_not_found,
    openai_wrong_key,
)

# (method, path, what answers it) → the answer to give: before, after or instead of the work.
Intercept = Callable[[str, str, Callable[[], Reply]], Reply]
_LIFETIME_S = 600.0
_TRICKLES = 20


class FakeProvider:
    """The server, in a thread of this process, while the `with` lasts.

    Args:
        responder: Decides every answer of the chat endpoints and of batches. It runs in the
            server's thread and should not block. What it raises is raised again when the `with`
            ends.
        latency_s: Wait before each answer of the chat endpoints.
        valid_key: The one key that is let in; None lets in any and none.
        models: The models that GET /v1/models knows; None for every id.
        model_page: The answer to any GET below /v1/models; None for the right one.
        shutdown_dates: What OpenAI's list of models says of some, by id.
        intercept: Stands before every other endpoint: called with the method, the path and a
            function that does the work and returns the answer.
        log_path: File to append one JSON line per finished answer to.
        keeps_calls: Whether the log keeps bodies and headers; a benchmark has no use for them.
    """

    def __init__(
        self,
        responder: Responder = by_model,
        *,
        latency_s: float = 0.0,
        valid_key: str | None = None,
        models: list[str] | None = None,
        intercept: Intercept | None = None,
        log_path: Path | None = None,
        keeps_calls: bool = True,
    ) -> None:
        self.responder = responder
        self.latency_s = latency_s
        self.valid_key = valid_key
        self.models = models
        self.model_page: Reply | None = None
        self.shutdown_dates: dict[str, str] = {}
        self.intercept = intercept
        self.log = ServerLog(log_path, keeps_calls)
        self.port = 0
        self.failure: BaseException | None = None
        self._store = BatchStore(self._run_in_batch, lambda: self.base_url_anthropic)
        self._loop = asyncio.new_event_loop()
        self._stopped = threading.Event()
        self._connections: set[_Connection] = set()

    @property
    def base_url_openai(self) -> str:
        """For the openai package."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def base_url_anthropic(self) -> str:
        """For the anthropic package, which adds /v1 itself."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def batch_settings(self) -> BatchSettings:
        """How batches go; change its attributes at any time."""
        return self._store.settings

    def finish_batches(self, outcome: Outcome | None = None) -> None:
        """End every open batch now, as `batch_settings.outcome` says unless given."""
        self._store.finish(outcome)

    def __enter__(self) -> Self:
        started = threading.Event()
        threading.Thread(target=self._serve, args=(started,), daemon=True).start()
        if not started.wait(10):
            raise RuntimeError("the fake provider did not start within 10 s")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._stopped.wait(10)
        self.log.close()
        if self.failure is not None and kind is None:
            raise self.failure

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        listening = self._loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=1024
        )
        server = self._loop.run_until_complete(listening)
        self.port = server.sockets[0].getsockname()[1]
        self._loop.call_soon(started.set)
        self._loop.run_forever()
        server.close()
        for connection in list(self._connections):
            connection.transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self._stopped.set()

    # What follows runs in the server's thread.

    def handle(
        self,
        connection: "_Connection",
        method: str,
        url: bytes,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        """Answer one request, now or later."""
        parsed = httptools.parse_url(url)
        path, query = parsed.path.decode(), (parsed.query or b"").decode()
        self.log.requested(method, path)
        provider = _provider_of(path, headers)
        refusal = self._refusal(provider, headers)
        is_chat = method == "POST" and path in ("/v1/chat/completions", "/v1/messages")
        if is_chat:
            try:
                content = json.loads(body)
            except ValueError:
                connection.act(None, _not_json(provider))
                return
            call = self.log.received(provider, path, headers, content)
            connection.act(call, refusal or self._respond(call))
            return

        def work() -> Reply:
            return refusal or self._other(provider, method, path, query, headers, body)

        try:
            reply = self.intercept(method, path, work) if self.intercept else work()
        except Exception as error:  # noqa: BLE001 — it is raised where the `with` ends
            reply = self._fail(error)
        connection.act(None, reply)

    def _respond(self, call: Call) -> Reply:
        try:
            return self.responder(call)
        except Exception as error:  # noqa: BLE001 — it is raised where the `with` ends
            return self._fail(error)

    def _fail(self, error: Exception) -> Reply:
        self.failure = self.failure or error
        return Reply(500, f"the test's own code failed: {error!r}", {"content-type": "text/plain"})

    def _run_in_batch(self, provider: Provider, headers: Mapping[str, str], body: Json) -> Reply:
        path = "/v1/chat/completions" if provider == "openai" else "/v1/messages"
        call = self.log.received(provider, path, headers, body, in_batch=True)
        reply = self._respond(call)
        self.log.ended(call, reply)
        return reply

    def _refusal(self, provider: Provider, headers: Mapping[str, str]) -> Reply | None:
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if provider == "anthropic":
            key = headers.get("x-api-key", key)
        if self.valid_key is None or key == self.valid_key:
            return None
        return openai_wrong_key(key) if provider == "openai" else anthropic_wrong_key()

    def _other(
        self,
        provider: Provider,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        if method == "GET" and path.startswith("/v1/models"):
            return self._model(provider, path.removeprefix("/v1/models").removeprefix("/"))
        reply = self._store.route(method, path, query, headers, body)
        if reply is not None:
            return reply
        if provider == "anthropic":
            return anthropic_error(404, "not_found_error", "Not Found")
        return openai_error(404, f"Invalid URL ({method} {path})")

    def _model(self, provider: Provider, name: str) -> Reply:
        if self.model_page is not None:
            return self.model_page
        known = self.models if self.models is not None else [name] if name else []
        if name and name not in known:
            not_found = {"openai": openai_model_not_found, "anthropic": anthropic_model_not_found}
            return not_found[provider](name)
        if provider == "openai":
            views = [
                {
                    "id": id_,
                    "object": "model",
                    "created": 1_744_316_542,
                    "owned_by": "system",
                    "shutdown_date": self.shutdown_dates.get(id_),
                }
                for id_ in ([name] if name else known)
            ]
            return Reply(body=views[0] if name else {"object": "list", "data": views})
        views = [
            {
                "type": "model",
                "id": id_,
                "display_name": id_,
                "created_at": "2025-10-15T00:00:00Z",
                "lifecycle": "active",
            }
            for id_ in known
        ]
        if name:
            return Reply(body=views[0])
        ends = {"first_id": known[0] if known else None, "last_id": known[-1] if known else None}
        return Reply(body={"data": views, "has_more": False, **ends})


class _Connection(asyncio.Protocol):
    """One client's connection: reads a request, acts on the reply, reads the next."""

    transport: asyncio.Transport

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._parser = httptools.HttpRequestParser(self)
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._undrained: Reply | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # Told about every byte that the operating system did not take at once.
        transport.set_write_buffer_limits(high=0)
        self._provider._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider._connections.discard(self)
        if self._timer:
            self._timer.cancel()
        if self._call:
            self._provider.log.ended(self._call, None)
            self._call = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        body = b"".join(self._body)
        self._provider.handle(self, method, self._url, self._headers, body)

    def act(self, call: Call | None, reply: Reply) -> None:
        """Do what a reply says, after its wait."""
        self._call = call
        wait_s = reply.latency_s
        if wait_s is None:
            wait_s = self._provider.latency_s if call else 0.0
        if reply.action == "hang":
            wait_s += reply.hang_s
        if wait_s > 0:
            loop = self._provider._loop
            self._timer = loop.call_later(wait_s, self._act_now, reply)
        else:
            self._act_now(reply)

    def _act_now(self, reply: Reply) -> None:
        if reply.action == "drop":
            self.transport.close()
            return
        head, body = _encode(reply, _provider_of(self._url.decode(), self._headers))
        if reply.action == "drop_midway":
            self.transport.write(head + body[: len(body) // 2])
            self.transport.close()
        elif reply.action == "trickle":
            self.transport.write(head)
            size = -(-len(body) // _TRICKLES)
            self._trickle(reply, [body[i : i + size] for i in range(0, len(body), size)])
        else:
            self._write_last(reply, head + body)

    def _trickle(self, reply: Reply, pieces: list[bytes]) -> None:
        if len(pieces) == 1:
            self._write_last(reply, pieces[0])
            return
        self.transport.write(pieces[0])
        step_s = reply.hang_s / _TRICKLES
        loop = self._provider._loop
        self._timer = loop.call_later(step_s, self._trickle, reply, pieces[1:])

    def _write_last(self, reply: Reply, data: bytes) -> None:
        # The lock spans both, so that a client that has the answer finds it counted.
        with self._provider.log.lock:
            self.transport.write(data)
            if self.transport.get_write_buffer_size():
                self._undrained = reply
            else:
                self._written(reply)

    def resume_writing(self) -> None:
        if self._undrained:
            self._written(self._undrained)
            self._undrained = None

    def _written(self, reply: Reply) -> None:
        if self._call:
            self._provider.log.ended(self._call, reply)
            self._call = None
        if not self._parser.should_keep_alive():
            self.transport.close()


def _provider_of(path: str, headers: Mapping[str, str]) -> Provider:
    if "/messages" in path:
        return "anthropic"
    by_header = path.startswith("/v1/models") and "anthropic-version" in headers
    return "anthropic" if by_header else "openai"


def _not_json(provider: Provider) -> Reply:
    if provider == "anthropic":
        message = "The request body is not valid JSON"
        return anthropic_error(400, "invalid_request_error", message)
    return openai_error(400, "We could not parse the JSON body of your request.")


def _encode(reply: Reply, provider: Provider) -> tuple[bytes, bytes]:
    body = reply.body
    if not isinstance(body, (str, bytes)):
        body = json.dumps(body, separators=(",", ":"))
    if isinstance(body, str):
        body = body.encode()
    headers = {
        "content-type": "application/json",
        "x-request-id" if provider == "openai" else "request-id": fresh_id("req_"),
        **reply.headers,
        "content-length": str(len(body)),
    }
    try:
        phrase = http.HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Overloaded"
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{n}: {v}" for n, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body


def main() -> None:
    """Serve until the process that started this one is gone, for ten minutes at most."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--responder", default="tests.providers.models:by_model")
    parser.add_argument("--valid-key")
    parser.add_argument("--polls-to-finish", type=int, default=2)
    parser.add_argument("--forgets-calls", action="store_true", help="for a benchmark")
    asked = parser.parse_args()
    server = FakeProvider(
        pkgutil.resolve_name(asked.responder),
        latency_s=asked.latency,
        valid_key=asked.valid_key,
        log_path=asked.log,
        keeps_calls=not asked.forgets_calls,
    )
    server.batch_settings.polls_to_finish = asked.polls_to_finish
    deadline = time.monotonic() + _LIFETIME_S
    with contextlib.suppress(KeyboardInterrupt), server:
        unfinished = asked.port_file.with_suffix(".tmp")
        unfinished.write_text(str(server.port))
        unfinished.replace(asked.port_file)
        while os.getppid() == parent and time.monotonic() < deadline:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
