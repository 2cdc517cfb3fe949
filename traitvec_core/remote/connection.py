"""What all clients of a server share: a model's name, its key, its address, the SDK's client."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar

from traitvec_core.remote.http_client import CONNECT_S, bounded_client

__all__ = ["Connection"]

# SDKs add what such variables say to every request: the organization, and headers, which may hold
# another key (`OPENAI_CUSTOM_HEADERS`). They belong to the account at the provider.
_ACCOUNT_VARIABLES = ("OPENAI_", "ANTHROPIC_")
_environment_lock = Lock()


class Connection:
    """A model behind an API.

    Args:
        name: The model.
        key: The key; None for a server that needs none.
        key_name: The environment variable of the key, for messages.
        address: The server; empty for the provider's own.

    Attributes:
        provider_name: The provider, in messages.
        default_address: The provider's server.
        sdk_error: Module and name of the SDK's base exception.
        role: What the model is used as, in messages.
        model_setting: The setting that names the model, in messages.
        address_settings: The setting or variable that names the server, by `key_name`.
    """

    provider_name: ClassVar[str]
    default_address: ClassVar[str]
    sdk_error: ClassVar[tuple[str, str]]
    role: ClassVar[str]
    model_setting: ClassVar[str]
    address_settings: ClassVar[Mapping[str, str]]

    def __init__(self, name: str, key: str | None, key_name: str, address: str = "") -> None:
        self.name = name
        self.key_name = key_name
        self.address = address
        self._key = key or "none"
        self._client: Any = None

    @property
    def server_name(self) -> str:
        """The server, as messages name it."""
        return self.address or self.provider_name

    @property
    def address_setting(self) -> str:
        """The setting or variable that names the server; empty for the provider's own."""
        return self.address_settings.get(self.key_name, "") if self.address else ""

    @property
    def settings(self) -> str:
        """The settings that name the model and the server, in messages."""
        return " and ".join(filter(None, (self.model_setting, self.address_setting)))

    def connected(self, sdk: Any, client: str, timeout_s: float) -> Any:
        """Return a client of the SDK, which connects within seconds and bounds answers.

        Args:
            sdk: The SDK's module.
            client: The name of its client class.
            timeout_s: Longest silence of the server once it is connected, in seconds.
        """
        is_account = self.key_name.startswith(_ACCOUNT_VARIABLES)
        with _environment_of(is_account=is_account):
            return getattr(sdk, client)(
                api_key=self._key,
                # Not None: the SDK would look for an address in the environment.
                base_url=self.address or self.default_address,
                # `Calls` retries; while it waits, other calls can use the free slot.
                max_retries=0,
                timeout=sdk.Timeout(timeout_s, connect=CONNECT_S),
                http_client=bounded_client(sdk.DefaultAioHttpClient),
            )

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()


@contextmanager
def _environment_of(*, is_account: bool) -> Iterator[None]:
    """Hide the variables of the user's account from an SDK that connects to the user's own server.

    It reads them when it makes a client.
    """
    with _environment_lock:
        names = [] if is_account else [n for n in os.environ if n.startswith(_ACCOUNT_VARIABLES)]
        hidden = {name: os.environ.pop(name) for name in names}
        try:
            yield
        finally:
            os.environ.update(hidden)
