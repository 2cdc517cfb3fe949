"""What belongs to an account at a provider is not sent to the user's own server."""

from collections.abc import Callable, Mapping

import pytest

from tests.judging.conftest import ANTHROPIC_KEY, OPENAI_KEY, Asker, rated
from tests.providers import models
from tests.providers.server import FakeProvider

MakeAsker = Callable[..., Asker]
NAMES = pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
OWN_KEY = "key-of-the-own-server"
# What the SDKs read from the environment and send along.
ACCOUNT = {
    "OPENAI_CUSTOM_HEADERS": "X-Team: of-the-account\nAuthorization: Bearer of-the-account",
    "OPENAI_ORG_ID": "org-of-the-account",
    "OPENAI_PROJECT_ID": "proj-of-the-account",
    "OPENAI_ADMIN_KEY": "admin-of-the-account",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Team: of-the-account\nx-api-key: of-the-account",
    "ANTHROPIC_AUTH_TOKEN": "token-of-the-account",
}


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUDGE_API_KEY", OWN_KEY)


def headers_sent(server: FakeProvider, asker: Asker) -> Mapping[str, str]:
    (judgement,) = asker.ask(rated(1))[0].values()
    assert judgement.status == "ok"
    return server.log.calls[-1].headers


@NAMES
def test_an_own_server_gets_its_own_key_and_nothing_of_the_account(
    asker: MakeAsker, name: str
) -> None:
    with FakeProvider(models.by_model) as server:
        is_anthropic = name.startswith("claude")
        own = server.base_url_anthropic if is_anthropic else server.base_url_openai
        headers = headers_sent(server, asker(server, name, judge_base_url=own))
    sent = " ".join(headers.values())
    assert OWN_KEY in sent
    assert "of-the-account" not in sent
    assert OPENAI_KEY not in sent
    assert ANTHROPIC_KEY not in sent


@NAMES
def test_the_providers_own_server_still_gets_them(asker: MakeAsker, name: str) -> None:
    with FakeProvider(models.by_model) as server:
        headers = headers_sent(server, asker(server, name))
    assert headers["x-team"] == "of-the-account"
    assert OWN_KEY not in " ".join(headers.values())
