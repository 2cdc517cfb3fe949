"""What is known of judges by their names: who serves them, what they can do, what they cost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.experiment import JudgePrice

__all__ = [
    "ApiProvider",
    "Capabilities",
    "Provider",
    "known_capabilities",
    "price_of",
    "prices_as_of",
    "provider_of",
    "retirement_of",
]

Provider = Literal["openai", "anthropic", "local"]
ApiProvider = Literal["openai", "anthropic"]

_OPENAI_NAMES = re.compile(r"(gpt-\d|chatgpt-|o\d)")
_ANTHROPIC_NAMES = re.compile(r"claude-")
# A dated snapshot is priced, and behaves, as the name that it is a snapshot of.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True)
class Capabilities:
    """What a model's API takes.

    Attributes:
        logprobs: Probabilities of the answer's tokens.
        structured: How an answer is held to a schema: by `json_schema`, by a forced `tool`, or not.
        temperature: Whether a temperature may be set.
        limit_name: The name of the limit on the answer.
        thinks: Whether it reasons before it answers, and needs room for that.
        effort: Whether the effort of that reasoning may be set.
        prefill: Whether the server goes on with the beginning of an answer, as vLLM does.
    """

    logprobs: bool = True
    structured: Literal["json_schema", "tool", "none"] = "json_schema"
    temperature: bool = True
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinks: bool = False
    effort: bool = False
    prefill: bool = True

    @property
    def scoring(self) -> Literal["weighted", "structured", "text"]:
        """How scores are made of answers."""
        if self.logprobs and not self.thinks:
            return "weighted"
        return "text" if self.structured == "none" else "structured"


_REASONING = Capabilities(
    logprobs=False, temperature=False, limit_name="max_completion_tokens", thinks=True,
    effort=True, prefill=False,
)  # fmt: skip
_CHAT = Capabilities(limit_name="max_completion_tokens", prefill=False)
_CLAUDE = Capabilities(logprobs=False, temperature=False, prefill=False)
# The first that matches counts. What is wrong here costs one refused request.
_FAMILIES: tuple[tuple[ApiProvider, str, Capabilities], ...] = (
    ("openai", r"gpt-4\.1|gpt-4o", _CHAT),
    ("openai", r"gpt-3\.5|gpt-4", Capabilities(structured="none", prefill=False)),
    ("openai", r"chatgpt-|gpt-5.*-chat", Capabilities(
        logprobs=False, temperature=False, limit_name="max_completion_tokens", prefill=False)),
    ("openai", r"gpt-\d|o\d", _REASONING),
    ("anthropic", r"claude-3|claude-(opus|sonnet)-4(-0|-2025\d+)?$", Capabilities(
        logprobs=False, structured="tool", prefill=False)),
    ("anthropic", r"claude-(opus-4-1|(haiku|sonnet|opus)-4-[56])", Capabilities(
        logprobs=False, prefill=False)),
    ("anthropic", r"claude-", _CLAUDE),
)  # fmt: skip


def provider_of(name: str, provider: str = "auto", base_url: str | None = None) -> Provider:
    """Return who serves a model.

    Args:
        name: The model's name.
        provider: What the user says: `openai` (also for any server that speaks its language),
            `anthropic`, `local`, or `auto` for what follows from the name and the address.
        base_url: Address of a server of the user's own.
    """
    if provider in {"openai", "anthropic", "local"}:
        return provider  # type: ignore[return-value]
    if name == EMBEDDED_MODEL:
        return "local"
    if "/" not in name and _ANTHROPIC_NAMES.match(name):
        return "anthropic"
    if base_url or ("/" not in name and _OPENAI_NAMES.match(name)):
        return "openai"
    # A Hugging Face id, whatever it begins with.
    return "local"


def known_capabilities(provider: ApiProvider, name: str) -> Capabilities | None:
    """Return what a family of models is known to take, or None for one that must be tried."""
    for of, pattern, capabilities in _FAMILIES:
        if of == provider and re.match(pattern, name):
            return capabilities
    return None


def price_of(name: str, extra: Mapping[str, JudgePrice] | None = None) -> JudgePrice | None:
    """Return a model's price, or None when it is not known: unknown is not free.

    Args:
        name: The model's name, or that of a dated snapshot of it.
        extra: Prices that the user has set.
    """
    found: JudgePrice | None = _entry(name, extra or {})
    if found is not None:
        return found
    listed = _entry(name, _table()["models"])
    if listed is None:
        return None
    fields = {key: listed[key] for key in JudgePrice.model_fields if key in listed}
    return JudgePrice.model_validate(fields)


def retirement_of(name: str, today: date | None = None) -> str | None:
    """Return a sentence on when a model's provider shuts it down, or None."""
    listed = _entry(name, _table()["models"])
    day = listed and listed.get("shutdown")
    if not listed or not day:
        return None
    is_over = day <= (today or date.today())
    other = listed.get("replacement")
    return f"{name} {'was to be shut down' if is_over else 'will be shut down'} on {day}" + (
        f"; its provider names {other} in its place" if other else ""
    )


def prices_as_of() -> date:
    """Return the day on which the price table was compiled."""
    found: date = _table()["as_of"]
    return found


@cache
def _table() -> dict[str, Any]:
    text = (resources.files("traitvec_core") / "judging" / "prices.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def _entry(name: str, table: Mapping[str, Any]) -> Any:
    return table.get(name) or table.get(_SNAPSHOT.sub("", name))
