"""Prices: those of genai-prices, what traitvec adds to them, and the user's, which win."""

import re
import socket
import subprocess
import sys
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import traitvec_core
from traitvec_core.experiment import JudgePrice
from traitvec_core.judging.prices import override_of, overrides, price_of, prices_as_of
from traitvec_core.judging.providers.table import PROVIDERS, provider_of

MODELS: dict[str, dict[str, Any]] = overrides()["models"]

# -- what traitvec adds ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_override_is_complete_and_says_why_it_exists(name: str) -> None:
    entry = MODELS[name]
    assert set(entry) <= {"price", "shutdown", "replacement", "why", "source"}
    assert set(entry) & {"price", "shutdown"}
    assert entry["why"].strip()
    assert entry["source"].strip()
    if "price" in entry:
        price = JudgePrice.model_validate(entry["price"])
        assert 0 < price.input < price.output
        # Once the package lists the model, the entry is to be deleted.
        assert not _is_listed(name)
    if "shutdown" in entry:
        assert type(entry["shutdown"]) is date
    assert "replacement" not in entry or ("shutdown" in entry and entry["replacement"] != name)
    assert provider_of(name).api is not None
    assert price_of(name) is not None


def _is_listed(name: str) -> bool:
    from genai_prices.data_snapshot import get_snapshot

    api = provider_of(name).api
    assert api is not None
    try:
        get_snapshot().find_provider_model(name, None, api.price_list, None)
    except LookupError:
        return False
    return True


def test_no_override_is_there_twice() -> None:
    """YAML would silently take the last."""
    file = Path(traitvec_core.__file__).parent / "judging" / "price_overrides.yaml"
    names = re.findall(r"^  ([\w.-]+): \{", file.read_text("utf-8"), re.MULTILINE)
    assert len(names) == len(set(names)) == len(MODELS)


def test_every_provider_has_a_price_list_and_a_batch_price() -> None:
    from genai_prices.data_snapshot import get_snapshot

    listed = {provider.id for provider in get_snapshot().providers}
    for row in PROVIDERS.values():
        if row.api is not None:
            assert row.api.price_list in listed
            assert row.api.price_list in overrides()["batch"] or not row.takes_batches


def test_the_source_of_the_prices_is_named() -> None:
    assert prices_as_of() == (
        f"genai-prices {metadata.version('genai-prices')}, traitvec's additions of"
        f" {overrides()['as_of']}"
    )


def test_prices_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: Any) -> Any:
        raise AssertionError("a price was fetched")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    # Not one that another test has looked up.
    assert price_of("gpt-4.1-mini-2025-04-14") == price_of("gpt-4.1-mini")


def test_the_price_data_is_not_loaded_before_a_price_is_needed() -> None:
    code = "import sys, traitvec_core.judging.load; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- prices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("gpt-6-luna", (0.10, 0.01, 0.50)), ("gpt-6.2-sol", (2.00, 0.10, 10.00)),
        ("gpt-6.1-terra", (1.00, 0.05, 5.00)),
        ("gpt-4.1", (2.00, 0.50, 8.00)), ("o4-mini", (1.10, 0.275, 4.40)),
        ("gpt-4o-2024-05-13", (5.00, None, 15.00)),
        ("claude-haiku-4-5", (1.00, 0.10, 5.00)), ("claude-sonnet-4-5", (3.00, 0.30, 15.00)),
        ("claude-haiku-5-5", (0.10, 0.01, 0.50)), ("claude-opus-4", (15.00, 1.50, 75.00)),
    ],
)  # fmt: skip
def test_known_prices(name: str, dollars: tuple[float, float | None, float]) -> None:
    price = price_of(name)
    assert price is not None
    assert (price.input, price.cached, price.output) == dollars
    assert price.batch == 0.5


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
    assert override_of(snapshot) == override_of(name)


def test_a_snapshot_with_a_row_of_its_own_costs_what_is_there() -> None:
    own, other = price_of("gpt-4o-2024-05-13"), price_of("gpt-4o-2024-08-06")
    assert own is not None
    assert other == price_of("gpt-4o")
    assert own.input == 5.0


@pytest.mark.parametrize(
    "name",
    [
        "", "gpt-5-", "gpt-5-max", "gpt-5-minimal", "gpt-5-mini-fast", "gpt-5-chat-latest", "gpt",
        "gpt-4-mega", "o33", "xgpt-5", "GPT-5", "claude", "claude-3-5-haiku-20241022-v2",
        "embedded", "Qwen/Qwen3-8B", "openai/gpt-5", "gpt-5-2025", "gpt-5-20250807x", "models",
    ],
)  # fmt: skip
def test_another_name_has_no_price_and_unknown_is_not_free(name: str) -> None:
    assert price_of(name) is None
    assert override_of(name) == {}


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
