"""Engines behind a server that lie, break, or come back as another: one line each, and soon."""

import gzip
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.generation.interp_impostor import Impostor, Lie, impostor, reply, tensor
from tests.generation.served import KEY, engine_at
from tests.models.architectures import make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import EngineOptions, generate_texts, interp_endpoint, load_engine
from traitvec_core.generation.interp_endpoint import Endpoint
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.generation.request import Generated
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import load_language_model
from traitvec_core.remote import calls

BRIEF = Sampling(temperature=0, max_new_tokens=5)
NAMES = [str(i) for i in range(6)]
MODEL = make_model("llama")
SHAPE = (1, MODEL.n_layers, MODEL.hidden_dim)
VOCABULARY = int(MODEL.model.config.vocab_size)

Action = Callable[[InterpEngine], object]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)
    monkeypatch.setattr(interp_endpoint, "POLL_S", 0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    MODEL.model.config.save_pretrained(folder)
    MODEL.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Impostor]:
    with impostor(Impostor(MODEL, str(folder))) as server:
        yield server


def says(answer: Any, status: int = 200, **headers: str) -> Lie:
    """An answer in place of the right one."""
    return lambda handler, right: reply(handler, answer, status, **headers)


def changes(**values: Any) -> Lie:
    """The right answer, but for some values; `a__b` is within `a`."""

    def lie(handler: BaseHTTPRequestHandler, right: Any) -> None:
        answer = json.loads(json.dumps(right))
        for name, value in values.items():
            *groups, last = name.split("__")
            place = answer
            for group in groups:
                place = place[group]
            place[last] = value
        reply(handler, answer)

    return lie


def generates(engine: InterpEngine, on_finished: Any = lambda texts: None) -> dict[str, str]:
    return generate_texts(engine, NAMES, ["hello"] * 6, BRIEF, on_finished=on_finished)


def reads(engine: InterpEngine) -> torch.Tensor:
    return capture_means(engine.reader, [("hello", " you there")])


def predicts(engine: InterpEngine) -> torch.Tensor:
    return engine.reader.logits([1, 2, 3])


def refusal(server: Impostor, folder: Path, action: Action) -> str:
    """The line with which an action ends."""
    with pytest.raises(TraitvecError) as error:
        action(engine_at(server.url, folder))
    line = str(error.value)
    assert "\n" not in line
    assert len(line) < 250
    assert server.url in line
    assert KEY not in line
    return line


def test_an_honest_one_is_believed(server: Impostor, folder: Path) -> None:
    engine = engine_at(server.url, folder)
    assert set(generates(engine)) == set(NAMES)
    assert reads(engine).eq(1).all()
    assert predicts(engine).shape == (3, VOCABULARY)
    assert server.keys == {f"Bearer {KEY}"}


# -- tokens and tensors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([-1], "vocabulary"),
        ([VOCABULARY], "vocabulary"),
        ([2**40], "vocabulary"),
        ([2**80], "vocabulary"),
        ([True], "without token ids"),
        ([1.0], "without token ids"),
        ("12", "without token ids"),
        ([3] * 6, "6 tokens for 5"),
    ],
)
def test_tokens_that_cannot_be(server: Impostor, folder: Path, tokens: Any, said: str) -> None:
    server.lies["/v1/generate"] = changes(token_ids=tokens)
    assert said in refusal(server, folder, generates)


WRONG_MEANS: dict[str, Any] = {
    "another shape": tensor(1, 2, 3),
    "another type": {**tensor(*SHAPE), "dtype": "bfloat16"},
    "no type": {**tensor(*SHAPE), "dtype": []},
    "no shape": {**tensor(*SHAPE), "shape": None},
    "fewer values": {**tensor(*SHAPE), "data": "AAAA"},
    "no base64": {**tensor(*SHAPE), "data": "é"},
    "no data": {**tensor(*SHAPE), "data": 5},
    "nothing": None,
    # Missing is what has no tokens; these have some.
    "no numbers": tensor(*SHAPE, value=math.nan),
}


@pytest.mark.parametrize("kind", WRONG_MEANS)
def test_means_that_cannot_be(server: Impostor, folder: Path, kind: str) -> None:
    server.lies["/v1/means"] = changes(means=WRONG_MEANS[kind])
    assert "returned" in refusal(server, folder, reads)


def test_a_layer_that_overflows_is_left_to_the_checks(server: Impostor, folder: Path) -> None:
    server.lies["/v1/means"] = changes(means=tensor(*SHAPE, value=math.inf))
    assert reads(engine_at(server.url, folder)).isinf().all()


def test_means_of_no_tokens_are_missing_whatever_is_returned(
    server: Impostor, folder: Path
) -> None:
    engine = engine_at(server.url, folder)
    means = capture_means(
        engine.reader,
        [("hello", "")],
        response_ids=[[]],
        positions=["prompt_last", "response_mean"],
    )
    assert means["response_mean"].isnan().all()
    assert means["prompt_last"].eq(1).all()


@pytest.mark.parametrize(
    "logits", [tensor(3, 5), {**tensor(3, 5), "shape": [3, 5.0]}, {**tensor(3, 5), "shape": [3]}]
)
def test_logits_of_another_vocabulary(server: Impostor, folder: Path, logits: Any) -> None:
    server.lies["/v1/decode_residuals"] = changes(tensor=logits)
    assert f"(3, {VOCABULARY})" in refusal(server, folder, predicts)


# -- answers that are none --------------------------------------------------------------------


def drip(handler: BaseHTTPRequestHandler, right: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1_000):
        handler.wfile.write(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (says(b"<html>hello"), "unreadable"),
        (says([1]), "unreadable"),
        (says(b"[" * 10_000), "unreadable"),
        (says(b'{"token_ids": ' + b"[" * 200 + b"]" * 200 + b"}"), "unreadable"),
        (says(b'{"token_ids": [' + b"9" * 5_000 + b"]}"), "unreadable"),
        (says({"error": "no"}), "without token ids"),
        (says(b" " * 1_000_000), "more than 14,000 bytes"),
        (says(gzip.compress(b" " * 10**8), content_encoding="gzip"), "more than 14,000 bytes"),
        (says({}, 500), "server error (500"),
        (says({"detail": "full"}, 503), "busy (503: full)"),
        (says({"detail": "full"}, 429), "busy (429: full)"),
        (says({"detail": "no"}, 401), "GENERATION_API_KEY"),
        (says({"detail": "no such path"}, 404), "engine_url"),
        (drip, "not complete in time"),
    ],
)
def test_answers_that_are_none(
    server: Impostor, folder: Path, lie: Lie, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traitvec_core.generation.interp_client.BODY_S", 0.05)
    server.lies["/v1/generate"] = lie
    assert said in refusal(server, folder, generates)


@pytest.mark.parametrize("status", [422, 500])
def test_an_echoed_key_is_not_shown(server: Impostor, folder: Path, status: int) -> None:
    # Of a child process: it is in no variable.
    server.lies["/v1/generate"] = says({"detail": f"you sent {KEY},\nand sk-abcdefgh"}, status)
    line = refusal(server, folder, generates)
    assert "you sent [key], and [key]" in line


@pytest.mark.parametrize("path", ["/v1/generate", "/health"])
def test_a_redirect_is_not_followed(folder: Path, server: Impostor, path: str) -> None:
    with impostor(Impostor(MODEL, str(folder))) as other:
        server.lies[path] = says({}, 307, location=f"{other.url}{path}")
        line = refusal(server, folder, generates)
    assert "redirects to 127.0.0.1" in line
    assert "engine_url" in line
    assert other.asked == []


def test_a_busy_server_is_asked_again_when_it_says(server: Impostor, folder: Path) -> None:
    asked: list[float] = []

    def busy_once(handler: BaseHTTPRequestHandler, right: Any) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            reply(handler, {"detail": "full"}, 503, retry_after="1")
        else:
            reply(handler, right)

    server.lies["/v1/means"] = busy_once
    assert reads(engine_at(server.url, folder)).eq(1).all()
    # By itself it would have asked after a hundredth of a second.
    assert asked[1] - asked[0] >= 0.9


# -- what it says of itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/v1/describe", {"description__n_layers": str(MODEL.n_blocks)}),
        ("/v1/describe", {"description__n_layers": math.inf}),
        ("/v1/describe", {"limits__max_concurrency": 0}),
        ("/v1/describe", {"limits__max_concurrency": -4}),
        ("/v1/describe", {"limits": None}),
        ("/v1/traitvec", {"max_model_len": -5}),
        ("/v1/traitvec", {"max_model_len": True}),
        ("/v1/traitvec", {"revision": {"a": 1}}),
        ("/v1/traitvec", {"model": ["a"]}),
        ("/v1/traitvec", {"model": "a\nb"}),
        ("/v1/traitvec", {"backend": "x" * 10_000}),
    ],
)
def test_descriptions_that_cannot_be(
    server: Impostor, folder: Path, path: str, values: dict[str, Any]
) -> None:
    server.lies[path] = changes(**values)
    for action in (generates, reads):
        assert "describes itself in an unknown way" in refusal(server, folder, action)


def test_a_server_for_a_million_calls_gets_one_for_each_text(
    server: Impostor, folder: Path
) -> None:
    server.lies["/v1/describe"] = changes(limits__max_concurrency=10**6)
    assert set(generates(engine_at(server.url, folder))) == set(NAMES)


def test_another_version_is_named(server: Impostor, folder: Path) -> None:
    server.lies["/v1/traitvec"] = changes(protocol="next")
    assert "another version of traitvec" in refusal(server, folder, reads)


def test_means_are_not_given_up_for_one_failure(server: Impostor, folder: Path) -> None:
    failures = [500, 503]

    def fails_first(handler: BaseHTTPRequestHandler, right: Any) -> None:
        if failures:
            reply(handler, {"detail": "not now"}, failures.pop())
        else:
            reply(handler, right)

    server.lies["/v1/traitvec"] = fails_first
    reads(engine_at(server.url, folder))
    assert "/v1/means" in server.asked
    assert "/v1/capture" not in server.asked


def test_without_means_activations_are_captured(server: Impostor, folder: Path) -> None:
    server.lies["/v1/traitvec"] = says({"detail": "Not Found"}, 404)
    assert reads(engine_at(server.url, folder)).eq(1).all()
    assert "/v1/capture" in server.asked


@pytest.mark.parametrize("status", [["ready"], {}, None, "well"])
def test_another_kind_of_health(server: Impostor, folder: Path, status: Any) -> None:
    server.lies["/health"] = changes(status=status)
    assert "is not an interp-engine server" in refusal(server, folder, reads)


def test_ready_but_not_described(server: Impostor, folder: Path) -> None:
    server.lies["/v1/describe"] = says({}, 500)
    assert "engine_url" in refusal(server, folder, reads)


def test_a_server_that_loads_and_then_fails(server: Impostor, folder: Path) -> None:
    answers = ["loading", "loading"]

    def loads(handler: BaseHTTPRequestHandler, right: Any) -> None:
        if answers:
            reply(handler, {"status": answers.pop()}, 503)
        else:
            reply(handler, {"status": "failed", "error": f"ValueError: no\nroom {'x' * 900}"}, 503)

    server.lies["/health"] = loads
    assert "could not load its model: ValueError: no room" in refusal(server, folder, reads)


# -- servers that go, and come back -----------------------------------------------------------


@pytest.fixture
def _longer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 2.0)


def generate_through_a_restart(
    folder: Path, restarted: Callable[[Impostor], None]
) -> tuple[list[Generated], Impostor]:
    """Generate from a server that ends after two responses, and soon starts again."""
    first, second = Impostor(MODEL, str(folder)), Impostor(MODEL, str(folder))
    restarted(second)
    done: list[Generated] = []
    with impostor(first):
        port = int(first.url.rpartition(":")[2])
        context = impostor(second, port)
        start = threading.Timer(0.3, context.__enter__)

        def on_finished(texts: list[Generated]) -> None:
            done.extend(texts)
            if len(done) == 2:
                first.stop()
                start.start()

        model = load_language_model(str(folder), has_weights=False)
        endpoint = Endpoint(first.url, KEY, "GENERATION_API_KEY")
        engine = InterpEngine("server", model, endpoint, batch_size=1)
        try:
            generates(engine, on_finished)
        finally:
            start.join()
            context.__exit__(None, None, None)
    return done, second


@pytest.mark.usefixtures("_longer_waits")
def test_a_server_that_restarts_is_waited_for_until_it_has_loaded(folder: Path) -> None:
    # More often than a call is repeated.
    loading = ["loading"] * 3

    def loads(handler: BaseHTTPRequestHandler, right: Any) -> None:
        if loading:
            reply(handler, {"status": loading.pop()}, 503)
        else:
            reply(handler, right)

    def answers_once_loaded(handler: BaseHTTPRequestHandler, right: Any) -> None:
        if loading:
            reply(handler, {"detail": "the model is still loading"}, 503)
        else:
            reply(handler, right)

    def restarted(server: Impostor) -> None:
        server.lies.update({"/health": loads, "/v1/generate": answers_once_loaded})

    done, second = generate_through_a_restart(folder, restarted)
    assert {text.name for text in done} == set(NAMES)
    assert second.asked.count("/v1/generate") == 4


@pytest.mark.usefixtures("_longer_waits")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "another"}, "serves another"),
        ({"dtype": "bfloat16"}, "restarted with other weights"),
    ],
)
def test_a_server_that_returns_with_another_model_is_refused(
    folder: Path, values: dict[str, Any], said: str
) -> None:
    def restarted(server: Impostor) -> None:
        server.lies["/v1/traitvec"] = changes(**values)

    with pytest.raises(TraitvecError, match=said):
        generate_through_a_restart(folder, restarted)


def test_a_server_that_dies_is_named_and_what_was_finished_is_kept(
    server: Impostor, folder: Path
) -> None:
    done: list[Generated] = []

    def dies(texts: list[Generated]) -> None:
        done.extend(texts)
        server.stop()

    line = refusal(server, folder, lambda engine: generates(engine, dies))
    assert "engine_url" in line
    assert "Finished work is kept" in line
    assert done


# -- engine_url -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dead", "redirect", "html"])
def test_engine_reads_with_what_does_not_read(server: Impostor, folder: Path, kind: str) -> None:
    def load(engine: object) -> object:
        return load_engine(
            "server", EngineOptions(str(folder), lambda: MODEL, url=server.url, must_read=True)
        )

    if kind == "redirect":
        server.lies["/health"] = says({}, 307, location="http://example.invalid/")
    elif kind == "html":
        server.lies["/health"] = says(b"<html>")
    else:
        server.stop()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    assert "engine_reads" in refusal(server, folder, load)
