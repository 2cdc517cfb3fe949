"""Judges' servers that send too much, redirect, or count nonsense: a reason each, and no costs."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.judging.conftest import Asker, rated
from tests.providers import models, replies
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider
from traitvec_core.judging.reading import Judgement
from traitvec_core.remote import http_client
from traitvec_core.remote.calls import StopError

MakeAsker = Callable[..., Asker]
BOTH = pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])


def good(call: Call) -> Reply:
    return models.by_model(call)


def changed(call: Call, **changes: Any) -> Reply:
    body = good(call).body
    assert isinstance(body, dict)
    return Reply(body={**body, **changes})


def counted(call: Call, **counts: Any) -> Reply:
    body = good(call).body
    assert isinstance(body, dict)
    return changed(call, usage={**body["usage"], **counts})


def judged(asker: Asker) -> Judgement:
    (judgement,) = asker.ask(rated(1))[0].values()
    return judgement


@BOTH
def test_an_answer_of_many_megabytes_is_not_read(asker: MakeAsker, name: str) -> None:
    # More than a judge that thinks may write.
    with FakeProvider(lambda call: changed(call, filler="a" * 30_000_000)) as server:
        judgement = judged(asker(server, name))
        assert server.log.total == 1
        server.responder = good
        # It is asked for again, since another answer may be in order.
        assert judged(asker(server, name)).status == "ok"
    assert (judgement.score, judgement.status) == (None, "error")
    assert "longer than was asked for" in judgement.reason


@BOTH
def test_a_dripping_answer_is_not_waited_for(
    asker: MakeAsker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "BODY_S", 0.2)

    def drips(call: Call) -> Reply:
        return Reply(body=good(call).body, action="trickle", hang_s=60.0)

    with FakeProvider(drips) as server:
        judgement = judged(asker(server, name))
    assert "after its first byte" in judgement.reason
    assert not judgement.is_final


@BOTH
@pytest.mark.parametrize("value", [-5, 10**12, True, 2.5, "7"])
def test_an_absurd_count_is_refused_and_costs_nothing(
    asker: MakeAsker, name: str, value: Any
) -> None:
    written = "completion_tokens" if name.startswith("gpt") else "output_tokens"
    with FakeProvider(lambda call: counted(call, **{written: value})) as server:
        found, paid, _ = asker(server, name).ask(rated(1))
    (judgement,) = found.values()
    assert f"{written} is {value}" in judgement.reason
    assert paid.usd == 0
    assert not judgement.is_final


@BOTH
def test_counts_that_are_missing_are_fine(asker: MakeAsker, name: str) -> None:
    with FakeProvider(lambda call: changed(call, usage=None)) as server:
        assert judged(asker(server, name)).status == "ok"


@BOTH
def test_a_redirect_takes_neither_prompt_nor_key(asker: MakeAsker, name: str) -> None:
    with FakeProvider(good) as other:
        path = "/v1/chat/completions" if name.startswith("gpt") else "/v1/messages"
        target = f"{other.base_url_anthropic}{path}"
        with (
            FakeProvider(lambda call: Reply(307, headers={"location": target})) as server,
            pytest.raises(StopError) as error,
        ):
            asker(server, name).ask(rated(1))
        assert other.log.total == 0
    assert f"redirects to 127.0.0.1:{other.port}" in str(error.value)
    # What named the address, and nothing of generation.
    assert "_BASE_URL" in str(error.value)
    assert "engine" not in str(error.value)


@BOTH
def test_a_page_in_place_of_json_is_named(asker: MakeAsker, name: str) -> None:
    page = Reply(body="<html>Welcome</html>", headers={"content-type": "text/html"})
    with FakeProvider(lambda call: page) as server:
        judgement = judged(asker(server, name))
    assert "<html>Welcome</html>" in judgement.reason
    assert "_BASE_URL" in judgement.reason


def test_an_error_with_status_200_means_what_its_code_means(asker: MakeAsker) -> None:
    def busy_once(call: Call) -> Reply:
        if call.attempt == 0:
            return Reply(body={"error": {"message": "slow down", "code": 429}})
        return good(call)

    with FakeProvider(busy_once) as server:
        assert judged(asker(server, "gpt-5-mini")).status == "ok"
        server.responder = lambda call: Reply(
            body={"error": {"message": "no such option", "code": 400}}
        )
        (judgement,) = asker(server, "gpt-5-mini").ask(rated(1, start=50))[0].values()
    assert "no such option" in judgement.reason


def test_errors_of_an_own_server_name_its_setting(asker: MakeAsker) -> None:
    with (
        FakeProvider(lambda call: replies.openai_model_not_found("gpt-5-mini")) as server,
        pytest.raises(StopError, match="check judge_model and judge_base_url") as error,
    ):
        asker(server, "gpt-5-mini", judge_base_url=server.base_url_openai).ask(rated(1))
    assert "engine" not in str(error.value)


def test_a_judge_that_cannot_be_reached_names_its_setting(asker: MakeAsker) -> None:
    with FakeProvider(good) as server:
        address = server.base_url_openai
    with pytest.raises(StopError) as error:
        asker(server, "gpt-5-mini", judge_base_url=address).ask(rated(1))
    assert str(error.value) == (
        f"{address} cannot be reached (connection refused); check judge_base_url and the network,"
        " then run again"
    )
