"""Answers of judges, mangled: a score, or a reason for none; never a crash, never a false score."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import changed, few, mangled, tried
from tests.judging.conftest import KEYS, Asker
from tests.providers import models
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.remote import calls

JUDGES = ("gpt-5-mini", "gpt-4.1-mini", "claude-haiku-4-5")


@pytest.fixture(scope="module")
def server(own_module_environment: None) -> Iterator[FakeProvider]:
    with pytest.MonkeyPatch.context() as patch, FakeProvider(models.by_model) as running:
        for name, key in KEYS.items():
            patch.setenv(name, key)
        for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
            patch.setenv(name, "")
        patch.setattr(calls, "FIRST_WAIT_S", 0.001)
        patch.setattr(calls, "LONGEST_WAIT_S", 0.002)
        yield running


@pytest.fixture(scope="module")
def answers(server: FakeProvider) -> dict[str, Any]:
    """A good answer for each judge."""
    good: dict[str, Any] = {}
    for name in JUDGES:
        seen: list[Call] = []

        def answer(call: Call, seen: list[Call] = seen) -> Reply:
            seen.append(call)
            return models.by_model(call)

        server.responder = answer
        with JudgementStore(None) as store:
            Asker(server, store, name).ask(["Rate answer 7 from 0 to 100."])
        good[name] = models.by_model(seen[0]).body
    return good


@few(25)
@given(st.data())
def test_answers(server: FakeProvider, answers: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(JUDGES))
    status = data.draw(st.sampled_from([200, 200, 200, 200, 400, 401, 404, 429, 500]))
    # Drawn before the call: the server answers in another thread.
    if data.draw(st.booleans()):
        body = json.dumps(data.draw(changed(answers[name]))).encode()
    else:
        body = data.draw(mangled(json.dumps(answers[name]).encode()))
    server.responder = lambda call: Reply(status, body=body)
    with JudgementStore(None) as store:
        asked = tried(lambda: Asker(server, store, name).ask(["Rate answer 7 from 0 to 100."]))
    if asked is not None:
        for judgement in asked[0].values():
            assert judgement.score is None or 0 <= judgement.score <= 100
            assert judgement.score is not None or judgement.reason
            assert "\n" not in judgement.reason
            assert len(judgement.reason) < 1000
        assert asked[1].usd >= 0
