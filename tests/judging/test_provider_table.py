"""The table of providers: complete rows, whose model a name is, and what its API accepts."""

import dataclasses
import inspect
import os
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.experiment import JudgeProvider
from traitvec_core.judging.asking import ApiModel
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.table import (
    PROVIDERS,
    ScorerKind,
    known_capabilities,
    provider_of,
)
from traitvec_core.remote.keys import redacted

# -- complete rows --------------------------------------------------------------------------------


def test_the_setting_names_every_provider() -> None:
    # Scorers go by their names, whatever the setting says.
    assert (*get_args(JudgeProvider), *get_args(ScorerKind)) == tuple(PROVIDERS)
    for name in ("python:scorers.py:words", "hf-classifier:org/model:a label", "repetition"):
        for provider in ("auto", *get_args(JudgeProvider)):
            row = provider_of(name, provider, "http://127.0.0.1:8000/v1")
            assert (row.name, row.api) == (name.partition(":")[0], None)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_is_complete(name: str) -> None:
    row = PROVIDERS[name]
    assert row.name == name
    assert row.icon
    # What runs here has no pattern.
    assert (row.names is None) == row.is_in_process == (row.api is None)
    assert row.names is None or row.families
    if row.api is not None:
        for field in dataclasses.fields(row.api):
            if field.name != "ignored_suffix":
                assert getattr(row.api, field.name) is not None, field.name
        assert row.api.key_name.endswith("_API_KEY")
        assert row.api.address_name.endswith("_BASE_URL")
        assert row.api.model.default_address.startswith("https://")
        assert row.api.models_path.startswith("/")
        assert any("a-key" in value for value in row.api.key_headers("a-key").values())


@pytest.mark.parametrize("name", [name for name, row in PROVIDERS.items() if row.api])
def test_a_model_of_a_row_can_be_asked(name: str) -> None:
    api = PROVIDERS[name].api
    assert api is not None
    model = api.model("some-model", None, api.key_name, "")
    assert model.provider == name
    assert model.server_name == api.title
    missing = [method for method in vars(ApiModel) if not method.startswith("_")
               and not hasattr(model, method)]  # fmt: skip
    assert missing == []
    for attribute in ("sdk_error", "role", "settings"):
        assert getattr(model, attribute)
    if api.takes_batches:
        for method in ("submit", "find", "poll", "results"):
            assert inspect.iscoroutinefunction(getattr(model, method)), method


@pytest.mark.parametrize("name", [name for name, row in PROVIDERS.items() if row.api])
def test_the_key_of_a_row_is_redacted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = PROVIDERS[name].api
    assert api is not None
    for variable in [variable for variable in os.environ if variable.endswith("_API_KEY")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv(api.key_name, "a0b1c2d3e4f5a6b7")
    assert redacted("wrong: a0b1c2d3e4f5a6b7") == "wrong: [key]"


# -- who serves it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("gpt-5-mini", "openai"), ("gpt-4.1-mini", "openai"), ("gpt-3.5-turbo", "openai"),
        ("gpt-6-luna", "openai"), ("chatgpt-4o-latest", "openai"), ("o1", "openai"),
        ("o4-mini-2025-04-16", "openai"),
        ("claude-haiku-4-5", "anthropic"), ("claude-3-5-haiku-20241022", "anthropic"),
        ("embedded", "local"), ("Qwen/Qwen3-8B", "local"), ("google/gemma-2-2b-it", "local"),
        ("openai/gpt-oss-20b", "local"), ("anthropic/claude-x", "local"), ("gpt2", "local"),
        ("openai-community/gpt2", "local"), ("olmo-7b", "local"), ("./my-model", "local"),
        ("my-org/gpt-5-distilled", "local"), ("gpt-oss-20b", "local"), ("gpt-j-6b", "local"),
    ],
)  # fmt: skip
def test_the_provider_follows_from_the_name(name: str, provider: str) -> None:
    assert provider_of(name).name == provider
    if provider == "local":
        # The model that ships is never asked of a server.
        there = "local" if name == "embedded" else "openai"
        assert provider_of(name, base_url="http://127.0.0.1:8000/v1").name == there
    for explicit in ("openai", "anthropic", "local"):
        assert provider_of(name, explicit).name == explicit
        assert provider_of(name, explicit, "http://127.0.0.1:8000/v1").name == explicit


# -- what it takes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "name", "expected", "scoring"),
    [
        (
            "openai",
            "gpt-5-mini",
            {"logprobs": False, "structured": "json_schema", "temperature": False,
             "limit_name": "max_completion_tokens", "thinks": True, "effort": True},
            "structured",
        ),
        (
            "openai",
            "gpt-4.1-mini",
            {"logprobs": True, "structured": "json_schema", "temperature": True,
             "limit_name": "max_completion_tokens", "thinks": False, "effort": False},
            "weighted",
        ),
        (
            "openai",
            "o3",
            {"logprobs": False, "temperature": False, "limit_name": "max_completion_tokens",
             "thinks": True},
            "structured",
        ),
        (
            "openai",
            "gpt-5-chat-latest",
            {"logprobs": False, "thinks": False, "effort": False},
            "structured",
        ),
        ("openai", "gpt-3.5-turbo", {"logprobs": True, "structured": "none"}, "weighted"),
        (
            "anthropic",
            "claude-haiku-4-5",
            {"logprobs": False, "structured": "json_schema", "temperature": True,
             "limit_name": "max_tokens", "thinks": False},
            "structured",
        ),
        (
            "anthropic",
            "claude-3-5-haiku-20241022",
            {"logprobs": False, "structured": "tool", "temperature": True,
             "limit_name": "max_tokens", "thinks": False},
            "structured",
        ),
        ("anthropic", "claude-sonnet-4-20250514", {"structured": "tool"}, "structured"),
        ("anthropic", "claude-opus-4-1-20250805", {"structured": "json_schema"}, "structured"),
        ("anthropic", "claude-opus-5-5", {"temperature": False}, "structured"),
    ],
)  # fmt: skip
def test_what_current_families_take(
    provider: Any, name: str, expected: dict[str, Any], scoring: str
) -> None:
    can = known_capabilities(provider, name)
    assert can is not None
    assert {field: getattr(can, field) for field in expected} == expected
    assert can.scoring == scoring
    # Only servers of one's own go on with the beginning of an answer.
    assert not can.prefill


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "Qwen/Qwen3-8B"), ("openai", "gpt-oss-20b"), ("openai", "claude-haiku-4-5"),
        ("anthropic", "gpt-5-mini"), ("anthropic", "my-claude-proxy"), ("openai", "openai/gpt-5"),
    ],
)  # fmt: skip
def test_what_other_models_take_is_found_out(provider: Any, name: str) -> None:
    assert known_capabilities(provider, name) is None


@given(
    st.builds(
        Capabilities,
        logprobs=st.booleans(),
        thinks=st.booleans(),
        structured=st.sampled_from(["json_schema", "tool", "none"]),
    )
)
def test_thinking_leaves_no_probabilities_of_a_score(can: Capabilities) -> None:
    expected = "text" if can.structured == "none" else "structured"
    if can.logprobs and not can.thinks:
        expected = "weighted"
    assert can.scoring == expected
