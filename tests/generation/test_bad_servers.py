"""Servers that die, lie, or send too much: one line each, soon, and finished work is kept."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.generation.completions import CompletionsServer, Spoiler, serving
from tests.models.architectures import make_model
from tests.ports import free_port
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import EngineOptions, generate_texts, load_engine
from traitvec_core.generation.request import Generated
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.remote import calls, http_client

NAMES = [str(i) for i in range(6)]
SAMPLING = Sampling(temperature=1.0, max_new_tokens=20)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make_model("llama")


@pytest.fixture(scope="module")
def saved(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    model.model.config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


class Attempt:
    """Generates through a server, and keeps what came of it."""

    def __init__(
        self, model: LanguageModel, saved: str, url: str, served_name: str | None = None
    ) -> None:
        self.said: list[str] = []
        self.done: list[Generated] = []
        self.error = ""
        self._model = model
        self._engine = load_engine(
            "server",
            EngineOptions(
                model=saved,
                load_model=lambda: model,
                url=url,
                batch_size=1,
                say=self.said.append,
                served_name=served_name,
            ),
        )

    def run(self, on_finished: Any = lambda texts: None) -> "Attempt":
        def keep(texts: list[Generated]) -> None:
            self.done.extend(texts)
            on_finished(texts)

        prompts = [self._model.prompt(f"What is {name}?", "Be brief.") for name in NAMES]
        try:
            generate_texts(
                self._engine, NAMES, prompts, SAMPLING,
                skip={text.name for text in self.done}, on_finished=keep,
            )  # fmt: skip
            self.error = ""
        except TraitvecError as error:
            self.error = str(error)
        assert "\n" not in self.error
        assert "judge" not in self.error
        return self


# -- no connection ----------------------------------------------------------------------------


def test_a_refused_connection_names_the_setting(model: LanguageModel, saved: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    attempt = Attempt(model, saved, url).run()
    assert attempt.error == (
        f"{url} cannot be reached (connection refused); check engine_url and the network, then run"
        " again"
    )


@contextmanager
def mute() -> Iterator[int]:
    """The port of a listener that takes no connection: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for caller in (first, second):
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(("127.0.0.1", port))
        yield port


@pytest.mark.slow
def test_a_connection_that_is_not_taken_is_given_up(
    model: LanguageModel, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traitvec_core.remote.connection.CONNECT_S", 0.2)
    with mute() as port:
        attempt = Attempt(model, saved, f"http://127.0.0.1:{port}/v1").run()
    # Not after the 600 s that an answer may take.
    assert "cannot be reached (no connection within" in attempt.error
    assert "engine_url" in attempt.error


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and requests, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listener.accept())

        threading.Thread(target=take, daemon=True).start()
        yield int(listener.getsockname()[1])
        for connection, _ in taken:
            connection.close()


@pytest.mark.parametrize("served_name", [None, "a-name"])
def test_a_server_that_says_nothing_is_named_within_a_minute(
    model: LanguageModel, saved: str, served_name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place of a minute. An answer may take ten.
    for module in ("remote.calls", "generation.completions_server", "generation.server_engine"):
        monkeypatch.setattr(f"traitvec_core.{module}.REACHED_WITHIN_S", 1.0)
    monkeypatch.setattr("traitvec_core.generation.interp_server.TIMEOUT_S", 0.2)
    monkeypatch.setattr("traitvec_core.remote.waiting.FIRST_LINE_S", 0.3)
    monkeypatch.setattr("traitvec_core.remote.waiting.LOOK_EVERY_S", 0.1)
    with silent() as port:
        url = f"http://127.0.0.1:{port}/v1"
        attempt = Attempt(model, saved, url, served_name).run()
    assert f"{url} gave no answer in" in attempt.error
    assert "check engine_url" in attempt.error
    assert f"waiting for the server ({url}), attempt 1, no answer for" in attempt.said[0]


def test_a_server_that_dies_is_waited_for_and_then_named(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model)) as server:
        attempt = Attempt(model, saved, server.url)

        def die(texts: list[Generated]) -> None:
            if len(attempt.done) == 2:
                server.stop()

        attempt.run(die)
    assert len(attempt.done) == 2
    (line,) = attempt.said
    assert f"{server.url} does not answer (connection refused); waiting up to" in line
    assert f"{server.url} is gone" in attempt.error
    assert "Finished work is kept" in attempt.error
    assert "engine_url" in attempt.error


def test_a_server_that_returns_in_time_is_used_again(
    model: LanguageModel, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 2.0)
    is_over = threading.Event()

    def return_soon(port: int) -> None:
        time.sleep(0.3)
        with serving(CompletionsServer(model), port):
            is_over.wait(60)

    with serving(CompletionsServer(model)) as server:
        attempt = Attempt(model, saved, server.url)
        again = threading.Thread(target=return_soon, args=(int(server.url.split(":")[2][:-3]),))

        def die(texts: list[Generated]) -> None:
            if len(attempt.done) == 2:
                server.stop()
                again.start()

        attempt.run(die)
        is_over.set()
        again.join()
    assert attempt.error == ""
    assert sorted(text.name for text in attempt.done) == NAMES
    assert len(attempt.said) == 1


def test_a_server_that_dies_of_the_first_requests_gets_a_hint(
    model: LanguageModel, saved: str
) -> None:
    with serving(CompletionsServer(model)) as server:

        def die(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
            threading.Thread(target=server.stop).start()
            handler.connection.close()

        server.spoiler = die
        attempt = Attempt(model, saved, server.url).run()
    assert "died before a response was finished" in attempt.error
    assert "--max-num-batched-tokens" in attempt.error
    assert "troubleshooting" in attempt.error


# -- answers that cannot be -------------------------------------------------------------------


def changed(**changes: Any) -> Spoiler:
    """An answer with changes of its first choice, or of its usage."""

    def send(handler: Any, answer: dict[str, Any]) -> None:
        choice = answer["choices"][0]
        for name, value in changes.items():
            (answer["usage"] if name.endswith("tokens") else choice)[name] = value
        if changes.get("usage", "") is None:
            answer["usage"] = None
        handler.reply(200, answer)

    return send


def page(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
    data = b"<html><body>Welcome to the router.</body></html>"
    handler.send_response(200)
    handler.send_header("content-type", "text/html")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def error_in_200(handler: Any, answer: dict[str, Any]) -> None:
    handler.reply(200, {"error": {"message": "no worker is free", "code": 400}})


def cut_chunk(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"400\r\n" + json.dumps(answer).encode()[:100])
    handler.close_connection = True


def packed(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-encoding", "gzip")
    handler.send_header("content-length", "4")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b\x08\x00")


def writes(body: bytes) -> Spoiler:
    def send(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return send


@pytest.mark.parametrize(
    ("spoiler", "reason"),
    [
        (changed(text="a" * 10_000_000, token_ids=None), "longer than was asked for"),
        (changed(text="a " * 20_000, token_ids=None), "longer than the 20 tokens asked for"),
        (changed(token_ids=[5] * 21), "longer than the 20 tokens asked for"),
        (changed(completion_tokens=-3), "completion_tokens is -3"),
        (changed(completion_tokens=21), "completion_tokens is 21, where 0 to 20"),
        (changed(completion_tokens=True), "completion_tokens is True"),
        (changed(completion_tokens="12"), "completion_tokens is 12"),
        (changed(completion_tokens=1.5), "completion_tokens is 1.5"),
        (changed(prompt_tokens=-1), "prompt_tokens is -1"),
        (changed(prompt_tokens=None), "no prompt_tokens"),
        (changed(usage=None), "no prompt_tokens"),
        (changed(prompt_tokens=3), "reads 3 tokens"),
        (page, "in place of a JSON object"),
        (error_in_200, "no worker is free"),
        (cut_chunk, "connection closed before the answer was complete"),
        (packed, "compressed"),
        (writes(b"[" * 100_000), "nested too deeply"),
        (writes(b'{"choices":' * 10_000), "nested too deeply"),
        (writes(b'{"choices": [{"te'), "an unreadable answer"),
        (writes(b""), "an empty answer"),
        (writes(b"null"), "no JSON object"),
        (writes(b'{"choices": [[{"text": "a"}]]}'), "an answer without text"),
    ],
)
def test_an_answer_that_cannot_be_is_one_line(
    spoiler: Spoiler, reason: str, model: LanguageModel, saved: str
) -> None:
    with serving(CompletionsServer(model)) as server:
        attempt = Attempt(model, saved, server.url)

        def spoil(texts: list[Generated]) -> None:
            if len(attempt.done) == 2:
                server.spoiler = spoiler

        attempt.run(spoil)
        assert reason in attempt.error
        assert server.url in attempt.error
        assert len(attempt.error) < 240
        assert len(attempt.done) == 2
        server.spoiler = None
        assert attempt.run().error == ""
    assert sorted(text.name for text in attempt.done) == NAMES


def endless(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
    """Sends spaces inside a JSON text, as fast as they are taken."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(b'{"choices": ')
        while True:
            handler.wfile.write(b" " * 65536)
            handler.server.n_sent += 65536  # type: ignore[attr-defined]


def test_an_endless_answer_is_cut_off(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model)) as server:
        server.spoiler = endless
        attempt = Attempt(model, saved, server.url).run()
    assert "longer than was asked for" in attempt.error
    # What is in flight between the two ends counts too.
    assert server.n_sent < 20_000_000


def test_a_dripping_answer_is_cut_off(
    model: LanguageModel, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "BODY_S", 0.3)

    def drip(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(1200):
                handler.wfile.write(b"{")
                time.sleep(0.05)

    with serving(CompletionsServer(model)) as server:
        server.spoiler = drip
        attempt = Attempt(model, saved, server.url).run()
    assert "not complete 0.3 s after its first byte" in attempt.error


@pytest.mark.slow
def test_blank_bytes_while_a_request_waits_are_no_dripping(
    model: LanguageModel, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "BODY_S", 0.3)

    def wait(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data) + 10))
        handler.end_headers()
        for _ in range(10):
            handler.wfile.write(b"\n")
            time.sleep(0.05)
        handler.wfile.write(data)

    with serving(CompletionsServer(model)) as server:
        server.spoiler = wait
        assert Attempt(model, saved, server.url).run().error == ""


def test_a_redirect_is_not_followed(
    model: LanguageModel, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATION_API_KEY", "sk-of-this-test")
    with serving(CompletionsServer(model)) as other, serving(CompletionsServer(model)) as server:

        def redirect(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
            handler.send_response(307)
            handler.send_header("location", other.url + "/completions")
            handler.send_header("content-length", "0")
            handler.end_headers()

        server.spoiler = redirect
        attempt = Attempt(model, saved, server.url).run()
    assert "redirects to 127.0.0.1" in attempt.error
    assert "engine_url" in attempt.error
    assert other.requests == []
    assert other.keys == set()
