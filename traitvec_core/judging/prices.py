"""List prices of judges, without any network access.

Prices come from the data inside the package genai-prices; `price_overrides.yaml` adds what it
lacks.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from typing import Any

import yaml

from traitvec_core.experiment import JudgePrice
from traitvec_core.judging.providers.table import provider_of

__all__ = ["override_of", "overrides", "price_of", "prices_as_of"]

# A dated snapshot has the price, and the shutdown date, of the model that it is a snapshot of.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
# genai-prices lists the first Claude 4 as -4-0, and some Claude 3 as -latest.
_LISTED_ENDINGS = ("", "-0", "-latest")


def price_of(name: str, extra: Mapping[str, JudgePrice] | None = None) -> JudgePrice | None:
    """Return a model's price, or None when it is not known: unknown is not free.

    Args:
        name: The model's name, or that of a dated snapshot of it.
        extra: The setting `judge_prices`, which comes first.
    """
    if extra:
        price = extra.get(name) or extra.get(_SNAPSHOT.sub("", name))
        if price is not None:
            return price
    fields = override_of(name).get("price")
    if fields is not None:
        return JudgePrice.model_validate(fields)
    return _listed_price(name)


def prices_as_of() -> str:
    """Return the source of the prices: the version of genai-prices and the overrides' date."""
    version = metadata.version("genai-prices")
    return f"genai-prices {version}, traitvec's additions of {overrides()['as_of']}"


def override_of(name: str) -> dict[str, Any]:
    """Return the entry of a model, or of the one it is a snapshot of; empty if there is none."""
    models: dict[str, dict[str, Any]] = overrides()["models"]
    return models.get(name) or models.get(_SNAPSHOT.sub("", name)) or {}


@cache
def overrides() -> dict[str, Any]:
    """Return `price_overrides.yaml`."""
    file = resources.files("traitvec_core") / "judging" / "price_overrides.yaml"
    loaded: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return loaded


@cache
def _listed_price(name: str) -> JudgePrice | None:
    api = provider_of(name).api
    if api is None:
        return None
    # Half a second to import.
    from genai_prices.data_snapshot import get_snapshot

    now = datetime.now(UTC)
    for stem in (name, _SNAPSHOT.sub("", name)):
        try:
            _, model = get_snapshot().find_provider_model(stem, None, api.price_list, None)
        except LookupError:
            continue
        # Its matching is generous: gpt-5-anything may be priced as gpt-5.
        if model.id not in {stem + ending for ending in _LISTED_ENDINGS}:
            continue
        prices = model.get_prices(now)
        listed = [
            _dollars(getattr(prices, field, None))
            for field in ("input_mtok", "output_mtok", "cache_read_mtok")
        ]
        if listed[0] is None or listed[1] is None:
            continue
        return JudgePrice(
            input=listed[0], output=listed[1], cached=listed[2],
            batch=overrides()["batch"].get(api.price_list, 1.0),
        )  # fmt: skip
    return None


def _dollars(price: Any) -> float | None:
    """Return a price, and the lowest tier's for one that depends on the prompt's length."""
    if price is None:
        return None
    return float(getattr(price, "base", price))
