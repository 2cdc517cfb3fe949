"""What is known of judges by their names: who serves them, what they take, what they cost."""

import re
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from traitvec_core.experiment import JudgePrice
from traitvec_core.judging import models
from traitvec_core.judging.models import (
    Capabilities,
    known_capabilities,
    price_of,
    prices_as_of,
    provider_of,
    retirement_of,
)

TABLE: dict[str, Any] = models._table()
ENTRIES: dict[str, dict[str, Any]] = TABLE["models"]

# -- prices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_an_entry_of_the_table_is_complete(name: str) -> None:
    entry = ENTRIES[name]
    price = price_of(name)
    assert price is not None
    assert 0 < price.input < price.output
    assert price.cached is None or 0 < price.cached < price.input
    assert price.batch == 0.5
    assert isinstance(entry["source"], str)
    assert entry["source"].strip()
    if "shutdown" in entry:
        assert type(entry["shutdown"]) is date
    if "replacement" in entry:
        assert "shutdown" in entry
        assert entry["replacement"] != name
    known = {*JudgePrice.model_fields, "source", "shutdown", "replacement"}
    assert set(entry) <= known
    # It is a judge that will be asked for by this name, and not loaded from a folder.
    provider = provider_of(name)
    assert provider == ("anthropic" if name.startswith("claude") else "openai")
    assert known_capabilities(provider, name) is not None


def test_no_name_is_there_twice() -> None:
    """YAML would silently take the last."""
    text = (models.resources.files("traitvec_core") / "judging" / "prices.yaml").read_text("utf-8")
    names = re.findall(r"^  ([\w.-]+): \{", text, re.MULTILINE)
    assert len(names) == len(set(names)) == len(ENTRIES)
    assert set(yaml.safe_load(text)) == {"as_of", "models"}


def test_the_table_has_a_date() -> None:
    assert type(prices_as_of()) is date
    assert date(2026, 1, 1) <= prices_as_of() <= date.today()


@pytest.mark.parametrize(
    ("snapshot", "name"),
    [
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("o3-2025-04-16", "o3"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-3-5-haiku-20241022", "claude-3-5-haiku"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("claude-opus-4-20250514", "claude-opus-4"),
    ],
)
def test_a_dated_snapshot_costs_what_its_name_costs(snapshot: str, name: str) -> None:
    assert price_of(snapshot) is not None
    assert price_of(snapshot) == price_of(name)
    note = retirement_of(name)
    assert retirement_of(snapshot) == (note and note.replace(name, snapshot, 1))


def test_a_snapshot_with_a_row_of_its_own_costs_what_is_there() -> None:
    own, other = price_of("gpt-4o-2024-05-13"), price_of("gpt-4o-2024-08-06")
    assert own is not None
    assert other == price_of("gpt-4o")
    assert own.input == 5.0


@pytest.mark.parametrize(
    "name",
    [
        "", "gpt-5-", "gpt-5-max", "gpt-5-minimal", "gpt-5-mini-fast", "gpt-5-chat-latest", "gpt",
        "gpt-4", "o33", "xgpt-5", "GPT-5", "claude", "claude-3-5-haiku-20241022-v2", "embedded",
        "Qwen/Qwen3-8B", "openai/gpt-5", "gpt-5-2025", "gpt-5-20250807x", "as_of", "models",
    ],
)  # fmt: skip
def test_another_name_has_no_price_and_unknown_is_not_free(name: str) -> None:
    assert price_of(name) is None
    assert retirement_of(name) is None


def test_a_name_does_not_swallow_a_longer_one() -> None:
    prices = [price_of(name) for name in ("gpt-5", "gpt-5-mini", "gpt-5-nano")]
    assert [price.input for price in prices if price] == [1.25, 0.25, 0.05]


def test_the_prices_of_the_user_win() -> None:
    mine = JudgePrice(input=1, output=2)
    free = JudgePrice(input=0, output=0)
    extra = {"gpt-5-mini": mine, "my-model": free}
    assert price_of("gpt-5-mini", extra) is mine
    assert price_of("gpt-5-mini-2025-08-07", extra) is mine
    assert price_of("my-model", extra) is free
    assert price_of("gpt-5", extra) == price_of("gpt-5")
    assert price_of("gpt-5-mini-2025-08-07", {"gpt-5-mini-2025-08-07": free, **extra}) is free


@given(
    st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
    st.floats(0, 1000),
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    st.floats(0, 1),
)
def test_dollars(
    read: float, cached: float | None, written: float, n_in: int, n_out: int, share: float
) -> None:
    price = JudgePrice(input=read, output=written, cached=cached)
    n_cached = int(share * n_in)
    cached_price = read if cached is None else cached
    dollars = (n_in - n_cached) / 1e6 * read + n_cached / 1e6 * cached_price + n_out / 1e6 * written
    assert price.usd(n_in, n_out, n_cached) == pytest.approx(dollars, rel=1e-9, abs=1e-12)
    if cached is None:
        assert price.usd(n_in, n_out, n_cached) == pytest.approx(price.usd(n_in, n_out))


def test_dollars_in_numbers() -> None:
    price = price_of("gpt-5-mini")
    assert price is not None
    assert price.usd(1_000_000, 0) == 0.25
    assert price.usd(0, 1_000_000) == 2.0
    assert price.usd(1_000_000, 1_000_000, cached=400_000) == pytest.approx(0.15 + 0.01 + 2.0)


@pytest.mark.parametrize(
    "price",
    [
        {"input": -1, "output": 1}, {"input": 1}, {"input": 1, "output": float("inf")},
        {"input": 1, "output": 1, "batch": 0}, {"input": 1, "output": 1, "batch": 1.5},
        {"input": 1, "output": 1, "cached": -0.1}, {"input": 1, "output": 1, "usd": 1},
    ],
)  # fmt: skip
def test_an_impossible_price_is_refused(price: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        JudgePrice.model_validate(price)


# -- retirement -----------------------------------------------------------------------------------


def test_a_shutdown_is_told_before_and_after_it() -> None:
    day = date(2026, 12, 11)
    assert ENTRIES["gpt-5-mini"]["shutdown"] == day
    before = "gpt-5-mini will be shut down on 2026-12-11"
    after = "gpt-5-mini was to be shut down on 2026-12-11"
    names = "; its provider names gpt-6.1-terra in its place"
    assert retirement_of("gpt-5-mini", date(2026, 12, 10)) == before + names
    assert retirement_of("gpt-5-mini", day) == after + names
    assert retirement_of("gpt-5-mini", date(2030, 1, 1)) == after + names


def test_what_nobody_announced_is_not_told() -> None:
    assert retirement_of("claude-haiku-4-5") is None
    assert "replacement" not in ENTRIES["gpt-5.1"]
    assert retirement_of("gpt-5.1", date(2026, 1, 1)) == "gpt-5.1 will be shut down on 2027-04-01"


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
    assert provider_of(name) == provider
    if provider == "local":
        # The model that ships is never asked of a server.
        there = "local" if name == "embedded" else "openai"
        assert provider_of(name, base_url="http://127.0.0.1:8000/v1") == there
    for explicit in ("openai", "anthropic", "local"):
        assert provider_of(name, explicit) == explicit
        assert provider_of(name, explicit, "http://127.0.0.1:8000/v1") == explicit


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
