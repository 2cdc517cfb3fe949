"""A stand-in for what serves a model elsewhere: a server of completions.

It decodes with a small model, plainly: a row at a time, without any cache.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import torch

from traitvec_core.models.language_model import LanguageModel

# Fields of OpenAI's own completions that are sent.
_OF_OPENAI = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed"}
# Writes what it likes in place of an answer; the dict is the answer that it replaces.
Spoiler = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]

Manners = Literal["vllm", "vllm_0.6", "llama.cpp", "openai", "no_bos", "template"]


def decode_plainly(
    model: LanguageModel, ids: list[int], max_tokens: int, temperature: float, seed: int
) -> list[int]:
    """Generated tokens, the end token among them."""
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = []
    with torch.inference_mode():
        while len(tokens) < max_tokens and not set(tokens[-1:]) & set(model.end_token_ids):
            scores = model.model(input_ids=torch.tensor([ids + tokens])).logits[0, -1]
            if temperature == 0:
                tokens.append(int(scores.argmax()))
            else:
                mass = (scores / temperature).softmax(0)
                tokens.append(int(torch.multinomial(mass, 1, generator=generator)))
    return tokens


@dataclass
class CompletionsServer:
    """A server of `/v1/completions` in a thread.

    `manners` is how it reads a prompt: `vllm` adds BOS except on request and returns token ids on
    request, which `vllm_0.6` refuses; `llama.cpp` always adds BOS, whatever else is asked for;
    `openai` does too and refuses fields that it does not know; `no_bos` refuses them and adds
    nothing; `template` puts turns around every prompt.
    """

    model: LanguageModel
    manners: Manners = "vllm"
    counts: bool = True
    # Added to returned token ids: another tokenizer's.
    shift: int = 0
    # What it lists as its models, each with its folder; None has no list.
    serves: dict[str, str] | None = None
    takes_seeds: bool = True
    # In place of every answer to a request for more than one token.
    spoiler: Spoiler | None = None
    # Statuses with which the next requests are answered before any succeeds.
    failures: list[int] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    read: list[list[int]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    # Ends it, and all its connections.
    stop: Callable[[], None] = lambda: None
    n_sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            if self.failures:
                return self.failures.pop(0), {"error": {"message": "not now"}}
        if self.serves is not None and body["model"] not in self.serves:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        if "seed" in body and not self.takes_seeds:
            return 422, {"error": {"message": "seed: per-request seeds are not supported"}}
        unknown = set(body) - _OF_OPENAI
        if unknown and self.manners in {"openai", "no_bos"}:
            message = f"Unrecognized request arguments supplied: {', '.join(sorted(unknown))}"
            return 400, {"error": {"message": message, "type": "invalid_request_error"}}
        if "return_token_ids" in body and self.manners == "vllm_0.6":
            return 400, {"error": {"message": "return_token_ids: extra inputs are not permitted"}}
        adds = self.manners != "no_bos"
        if self.manners in {"vllm", "vllm_0.6"}:
            adds = body.get("add_special_tokens", True)
        text = body["prompt"]
        if self.manners == "template":
            text = f"<|start|>user\n{text}<|end|>\n<|start|>assistant\n"
        ids = self.model.tokenizer(text, add_special_tokens=adds)["input_ids"]
        with self.lock:
            self.read.append(ids)
            tokens = decode_plainly(
                self.model, ids, body["max_tokens"], body["temperature"], body.get("seed", 0)
            )
        is_ended = tokens[-1] in self.model.end_token_ids
        text = self.model.tokenizer.decode(tokens, skip_special_tokens=True)
        answer: dict[str, Any] = {
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"],
            "choices": [
                {"index": 0, "text": text, "logprobs": None,
                 "finish_reason": "stop" if is_ended else "length"}
            ],
        }  # fmt: skip
        if self.manners == "vllm" and body.get("return_token_ids"):
            answer["choices"][0]["token_ids"] = [token + self.shift for token in tokens]
        if self.counts:
            n_in, n_out = len(ids), len(tokens)
            answer["usage"] = {
                "prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out
            }  # fmt: skip
        return 200, answer


@contextmanager
def serving(server: CompletionsServer, port: int = 0) -> Iterator[CompletionsServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if server.serves is None or self.path != "/v1/models":
                self.reply(404, {"detail": "Not Found"})
                return
            rows = [
                {"id": name, "object": "model", "root": root, "parent": None}
                for name, root in server.serves.items()
            ]
            self.reply(200, {"object": "list", "data": rows})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with server.lock:
                server.requests.append(body)
                server.keys.add(self.headers.get("authorization", ""))
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            try:
                if self.path != "/v1/completions":
                    status, answer = 404, {"error": {"message": "no such path"}}
                else:
                    status, answer = server.answer(body)
            finally:
                with server.lock:
                    server.at_once -= 1
            if server.spoiler is not None and body["max_tokens"] > 1:
                server.spoiler(self, answer)
            else:
                self.reply(status, answer)

        def reply(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("retry-after-ms", "20")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listener = Listener(("127.0.0.1", port), Handler)
    server.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
    server.stop = listener.stop
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.n_sent = listener.n_sent
        listener.stop()
        thread.join()


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    # A connection may end in the middle.
    block_on_close = False

    def __init__(self, *args: Any) -> None:
        self.n_sent = 0
        self._open: list[socket.socket] = []
        super().__init__(*args)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
