"""The table of providers. A new provider needs one module beside this one and one row here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.experiment import JudgeProvider
from traitvec_core.judging.asking import ApiModel
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.anthropic import AnthropicModel
from traitvec_core.judging.providers.openai import OpenAIModel
from traitvec_core.models.gguf_file import is_gguf_name
from traitvec_core.settings.scorer import is_scorer

__all__ = [
    "PROVIDERS",
    "ApiAccess",
    "Provider",
    "ScorerKind",
    "known_capabilities",
    "provider_of",
]


class _ApiModelClass(Protocol):
    """A subclass of `Connection` that is an `ApiModel`."""

    provider_name: str
    default_address: str

    def __call__(self, name: str, key: str | None, key_name: str, address: str) -> ApiModel: ...


# Scorers: their names say what they are, so `judge_provider` does not apply to them.
ScorerKind = Literal["python", "hf-classifier", "repetition"]


@dataclass(frozen=True, kw_only=True)
class ApiAccess:
    """How to reach a provider behind an API.

    Attributes:
        model: Makes a model object; it imports the SDK when it connects. Its class also has the
            provider's name for messages, its default address and the SDK's base exception.
        key_name: Environment variable of the key.
        address_name: Environment variable of another address than the default.
        ignored_suffix: End of an address that the SDK adds itself.
        models_path: Page below the address that lists the models; it costs nothing, and answers
            401 to a wrong key.
        key_headers: HTTP headers that send a key to that page.
        price_list: The provider's id in genai-prices.
        takes_batches: Whether it accepts batches at a lower price.
    """

    model: _ApiModelClass
    key_name: str
    address_name: str
    ignored_suffix: str
    models_path: str
    key_headers: Callable[[str], dict[str, str]]
    price_list: str
    takes_batches: bool

    @property
    def title(self) -> str:
        """The provider's name in messages."""
        return self.model.provider_name

    def normalized(self, address: str) -> str:
        """Return an address as the SDK expects it."""
        return address.rstrip("/").removesuffix(self.ignored_suffix)


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One provider of judges.

    Attributes:
        name: Its name in `judge_provider` and in the identity of judgements.
        icon: The kind that Dagster shows for its judges.
        names: Pattern of the names of its own models; None for scorers, and for the provider of
            all other names.
        families: What families of its models accept, by a pattern of their names; the first match
            counts. A wrong entry costs one refused request, which corrects it.
        api: How to reach it; None for what runs on this machine.
        needs_gpu: Whether it runs a model on this machine, on its GPU if there is one.
    """

    name: JudgeProvider | ScorerKind
    icon: str
    names: str | None
    families: tuple[tuple[str, Capabilities], ...]
    api: ApiAccess | None
    needs_gpu: bool = False

    @property
    def is_in_process(self) -> bool:
        """Whether it runs on this machine: no key, no price."""
        return self.api is None

    @property
    def takes_batches(self) -> bool:
        """Whether it accepts batches."""
        return self.api is not None and self.api.takes_batches


def provider_of(name: str, provider: str = "auto", base_url: str | None = None) -> Provider:
    """Return the provider of a model.

    Args:
        name: The model's name.
        provider: The setting `judge_provider`; `auto` decides by the name and the address.
        base_url: Address of the user's own server.
    """
    if is_scorer(name):
        return PROVIDERS[name.partition(":")[0]]
    if provider in PROVIDERS:
        return PROVIDERS[provider]
    if name == EMBEDDED_MODEL or (is_gguf_name(name) and not base_url):
        return PROVIDERS["local"]
    # A name with a slash is a Hugging Face id, whatever it begins with.
    matches = [
        row for row in PROVIDERS.values() if row.names and re.match(rf"(?!.*/)({row.names})", name)
    ]
    # The user's own server has OpenAI's API, unless the name is another provider's.
    others = PROVIDERS["openai" if base_url else "local"]
    return matches[0] if matches else others


def known_capabilities(provider: str, name: str) -> Capabilities | None:
    """Return what a model is known to accept; None for one that must be tried."""
    for pattern, capabilities in PROVIDERS[provider].families:
        if re.match(pattern, name):
            return capabilities
    return None


_CHAT = Capabilities(limit_name="max_completion_tokens", prefill=False)
_REASONING = Capabilities(
    logprobs=False, temperature=False, limit_name="max_completion_tokens", thinks=True,
    effort=True, prefill=False,
)  # fmt: skip
_ROWS = (
    Provider(
        name="openai",
        icon="openai",
        names=r"gpt-\d|chatgpt-|o\d",
        families=(
            (r"gpt-4\.1|gpt-4o", _CHAT),
            (r"gpt-3\.5|gpt-4", Capabilities(structured="none", prefill=False)),
            (r"chatgpt-|gpt-5.*-chat", Capabilities(
                logprobs=False, temperature=False, limit_name="max_completion_tokens",
                prefill=False)),
            (r"gpt-\d|o\d", _REASONING),
        ),
        api=ApiAccess(
            model=OpenAIModel,
            key_name="OPENAI_API_KEY",
            address_name="OPENAI_BASE_URL",
            ignored_suffix="",
            models_path="/models",
            key_headers=lambda key: {"authorization": f"Bearer {key}"},
            price_list="openai",
            takes_batches=True,
        ),
    ),
    Provider(
        name="anthropic",
        icon="anthropic",
        names=r"claude-",
        families=(
            (r"claude-3|claude-(opus|sonnet)-4(-0|-2025\d+)?$", Capabilities(
                logprobs=False, structured="tool", prefill=False)),
            (r"claude-(opus-4-1|(haiku|sonnet|opus)-4-[56])", Capabilities(
                logprobs=False, prefill=False)),
            (r"claude-", Capabilities(logprobs=False, temperature=False, prefill=False)),
        ),
        api=ApiAccess(
            model=AnthropicModel,
            key_name="ANTHROPIC_API_KEY",
            address_name="ANTHROPIC_BASE_URL",
            ignored_suffix="/v1",
            models_path="/v1/models",
            key_headers=lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
            price_list="anthropic",
            takes_batches=True,
        ),
    ),
    Provider(
        name="local", icon="huggingface", names=None, families=(), api=None, needs_gpu=True
    ),
    Provider(name="python", icon="python", names=None, families=(), api=None),
    Provider(
        name="hf-classifier", icon="huggingface", names=None, families=(), api=None,
        needs_gpu=True,
    ),
    Provider(name="repetition", icon="python", names=None, families=(), api=None),
)  # fmt: skip
PROVIDERS: dict[str, Provider] = {row.name: row for row in _ROWS}
