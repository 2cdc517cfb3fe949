"""Bodies that no API sends, at every place where a provider's body is read: one line, no bug."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.judging.conftest import Asker, rated
from tests.providers import models
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider
from traitvec_core.errors import TraitvecError

MakeAsker = Callable[..., Asker]
BOTH = pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
DEEP = "[" * 100_000
# Shallow enough to be decoded, and deep enough to end whatever goes through it by recursion.
NESTED: Any = "x"
for _ in range(300):
    NESTED = [NESTED]
BODIES: dict[str, bytes] = {
    "deeply nested": DEEP.encode(),
    "deeply nested objects": b'{"a":' * 100_000,
    "nested": json.dumps({"choices": NESTED, "content": NESTED, "error": NESTED}).encode(),
    "cut short": b'{"id": "chatcmpl-1", "choices": [{"mess',
    "empty": b"",
    "null": b"null",
    "a number": b"1" * 5_000,
    "a list": b"[]",
    "a string": b'"hello"',
    "no UTF-8": b"\xff\xfe\x00{",
    "a lone surrogate": b'{"error": {"message": "\\ud800\\u001b[2J"}}',
    "NaN": b'{"choices": NaN, "content": Infinity, "usage": -Infinity}',
    "wrong types": json.dumps(
        {
            "id": 7, "choices": {"0": 1}, "content": 5, "usage": [1], "data": {"a": 1},
            "request_counts": "many", "status": 3, "processing_status": None, "errors": [1],
        }
    ).encode(),
    "a page": b"<html>\x1b[2JWelcome</html>",
}  # fmt: skip


def spoiled(body: bytes, status: int = 200) -> Reply:
    return Reply(status, body)


def ended(asker: Asker) -> str:
    """Why a prompt has no score: by its reason, or by the line that ended the run."""
    try:
        (judgement,) = asker.ask(rated(1))[0].values()
    except TraitvecError as error:
        return str(error)
    assert judgement.score is None
    assert not judgement.is_final
    return judgement.reason


@BOTH
@pytest.mark.parametrize("kind", BODIES)
def test_in_place_of_an_answer(asker: MakeAsker, name: str, kind: str) -> None:
    with FakeProvider(lambda call: spoiled(BODIES[kind])) as server:
        reason = ended(asker(server, name))
        server.responder = models.by_model
        # Nothing of it was kept.
        assert next(iter(asker(server, name).scores(rated(1)).values())) is not None
    assert reason
    assert reason.isprintable()
    assert len(reason) < 250


@BOTH
@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize("depth", [300, 900, 100_000])
@pytest.mark.parametrize("place", ["error", "message"])
def test_in_place_of_an_error(
    asker: MakeAsker, name: str, status: int, depth: int, place: str
) -> None:
    inner = "[" * depth + "]" * depth
    body = '{"error": %s}' if place == "error" else '{"error": {"message": %s}}'
    with FakeProvider(lambda call: spoiled((body % inner).encode(), status)) as server:
        reason = ended(asker(server, name))
    assert reason
    assert reason.isprintable()
    assert len(reason) < 250


@BOTH
@pytest.mark.parametrize("charset", ["hex", "utf-16", "nonsense", "idna"])
def test_a_charset_that_is_none_changes_nothing(asker: MakeAsker, name: str, charset: str) -> None:
    def reply(call: Call) -> Reply:
        good = models.by_model(call)
        return Reply(
            body=good.body, headers={"content-type": f"application/json; charset={charset}"}
        )

    with FakeProvider(reply) as server:
        assert next(iter(asker(server, name).scores(rated(1)).values())) is not None


PLACES = {
    "gpt-5-mini": [
        ("POST", "/v1/files"), ("POST", "/v1/batches"), ("GET", "/v1/batches/"),
        ("GET", "/v1/files/"),
    ],
    "claude-haiku-4-5": [
        ("POST", "/v1/messages/batches"), ("GET", "/v1/messages/batches/"), ("GET", "/results"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "method", "path"), [(name, *place) for name in PLACES for place in PLACES[name]]
)
@pytest.mark.parametrize("kind", BODIES)
def test_in_a_batch(asker: MakeAsker, name: str, method: str, path: str, kind: str) -> None:
    is_spoiled = True

    def intercept(used: str, asked: str, work: Callable[[], Reply]) -> Reply:
        is_place = asked.endswith(path) if path == "/results" else asked.startswith(path)
        is_place |= asked == path
        if is_spoiled and used == method and is_place:
            return spoiled(BODIES[kind])
        return work()

    with FakeProvider(intercept=intercept) as server:
        asked = asker(server, name, judge_mode="batch")
        reason = ""
        try:
            found = asked.ask(rated(3))[0]
        except TraitvecError as error:
            reason = str(error)
            assert reason.isprintable()
            assert len(reason) < 250
        else:
            # Objects without our keys are no results: those requests were sent again.
            assert {judgement.status for judgement in found.values()} == {"ok"}
            assert path in ("/v1/files/", "/results")
        is_spoiled = False
        later = asker(server, name, judge_mode="batch").scores(rated(3))
    assert later == {prompt: models.stable_score(prompt) for prompt in rated(3)}


@BOTH
def test_a_line_of_results_that_is_odd_leaves_the_others(asker: MakeAsker, name: str) -> None:
    odd = [
        {}, {"custom_id": 5, "response": 7, "result": 7},
        {"custom_id": "x", "response": {"status_code": 200, "body": [1]}},
        {"custom_id": "x", "result": {"type": "succeeded", "message": "hello"}},
    ]  # fmt: skip

    def intercept(method: str, path: str, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if not path.endswith(("/content", "/results")):
            return reply
        body = reply.body if isinstance(reply.body, bytes) else str(reply.body).encode()
        extra = "".join(json.dumps(line) + "\n" for line in odd).encode()
        return Reply(body=extra + body, headers=reply.headers)

    with FakeProvider(intercept=intercept) as server:
        found = asker(server, name, judge_mode="batch").scores(rated(3))
        assert server.log.total == 0
    assert found == {prompt: models.stable_score(prompt) for prompt in rated(3)}


def test_counts_of_a_batch_that_are_absurd_cost_nothing(asker: MakeAsker) -> None:
    def absurd(call: Call) -> Reply:
        body = models.gpt_5_mini(call).body
        assert isinstance(body, dict)
        return Reply(body={**body, "usage": {"prompt_tokens": 10**40, "completion_tokens": -5}})

    with FakeProvider(absurd) as server:
        found, paid, _ = asker(server, "gpt-5-mini", judge_mode="batch").ask(rated(3))
    assert {judgement.status for judgement in found.values()} == {"ok"}
    assert paid.usd == 0


def test_results_are_read_from_the_server_that_has_the_key(asker: MakeAsker) -> None:
    """Not from the address that a batch names: the key would go there."""
    with FakeProvider() as other:

        def intercept(method: str, path: str, work: Callable[[], Reply]) -> Reply:
            reply = work()
            body = reply.body
            if method == "GET" and isinstance(body, dict) and body.get("results_url"):
                target = f"{other.base_url_anthropic}{path}/results"
                return Reply(body={**body, "results_url": target})
            return reply

        with FakeProvider(intercept=intercept) as server:
            found = asker(server, "claude-haiku-4-5", judge_mode="batch").scores(rated(3))
        assert not other.log.requests
    assert found == {prompt: models.stable_score(prompt) for prompt in rated(3)}
