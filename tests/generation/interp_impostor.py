"""A server that speaks interp-engine's protocol without a model, and can be made to lie."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np

from tests.generation.completions import Listener
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.reading import READING_PROTOCOL

__all__ = ["Impostor", "Lie", "impostor", "tensor"]

# Writes what it likes in place of an answer; the dict is the answer that it replaces.
Lie = Callable[[BaseHTTPRequestHandler, Any], None]
VOCABULARY_PROBE = 3


def tensor(*shape: int, value: float = 1.0) -> dict[str, Any]:
    """A tensor of the wire format."""
    data = np.full(shape, value, "<f4").tobytes()
    return {"dtype": "float32", "shape": list(shape), "data": base64.b64encode(data).decode()}


@dataclass
class Impostor:
    """A server for a model's shape.

    Attributes:
        model: Whose shape it claims.
        name: The model's name, as it says.
        lies: What it answers instead, by path.
        asked: Paths that were asked, in order.
        keys: What was sent as authorization.
    """

    model: LanguageModel
    name: str
    lies: dict[str, Lie] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""
    stop: Callable[[], None] = lambda: None

    def truth(self, path: str, body: Any) -> Any:
        """The answer of an honest server, or None for a path that it does not have."""
        model = self.model
        if path == "/health":
            return {"status": "ready", "model": self.name}
        if path == "/v1/describe":
            return self.description
        if path == "/v1/traitvec":
            return self.own
        if path == "/v1/generate":
            return {"token_ids": [VOCABULARY_PROBE] * min(3, body["max_tokens"])}
        if path == "/v1/means":
            return {"means": tensor(len(body["counted"]), model.n_layers, model.hidden_dim)}
        if path == "/v1/capture":
            rows = tensor(len(body["prompt_token_ids"]), model.hidden_dim)
            return {"activations": dict.fromkeys(body["points"], rows)}
        if path == "/v1/decode_residuals":
            n_rows = body["residuals"]["shape"][0]
            return {"tensor": tensor(n_rows, int(model.model.config.vocab_size))}
        return None

    @property
    def description(self) -> dict[str, Any]:
        """What `/v1/describe` says."""
        return {
            "description": {
                "hf_model_id": self.name, "n_layers": self.model.n_blocks,
                "d_model": self.model.hidden_dim, "backend": "vllm",
            },
            "engine_version": "1.14.2",
            "load": {"dtype": "float32"},
            "limits": {"max_prompt_tokens": 400, "max_concurrency": 4},
        }  # fmt: skip

    @property
    def own(self) -> dict[str, Any]:
        """What `/v1/traitvec` says."""
        return {
            "protocol": READING_PROTOCOL, "model": self.name, "revision": None,
            "dtype": "float32", "backend": "an impostor", "max_model_len": 400,
            "calls_at_once": 4,
        }  # fmt: skip


def reply(handler: BaseHTTPRequestHandler, answer: Any, status: int = 200, **headers: str) -> None:
    """Send JSON, or bytes as they are."""
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def impostor(server: Impostor, port: int = 0) -> Iterator[Impostor]:
    """Run it on a port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.respond(None)

        def do_POST(self) -> None:
            self.respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def respond(self, body: Any) -> None:
            server.asked.append(self.path)
            server.keys.add(self.headers.get("authorization", ""))
            answer = server.truth(self.path, body)
            lie = server.lies.get(self.path)
            if lie is not None:
                lie(self, answer)
            elif answer is None:
                reply(self, {"detail": "Not Found"}, 404)
            else:
                reply(self, answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listener = Listener(("127.0.0.1", port), Handler)
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    server.stop = listener.stop
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listener.stop()
        thread.join()
