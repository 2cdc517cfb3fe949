"""What all clients of a server share: a model's name, its key, its address, the SDK's client."""

from typing import Any, ClassVar

__all__ = ["Connection"]


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
        settings: The settings that name the model and the server, in messages.
    """

    provider_name: ClassVar[str]
    default_address: ClassVar[str]
    sdk_error: ClassVar[tuple[str, str]]
    role: ClassVar[str]
    settings: ClassVar[str]

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

    def connected(self, client: Any, http_client: Any, timeout_s: float) -> Any:
        """Return a client of the SDK.

        Args:
            client: The SDK's client class.
            http_client: The HTTP client that it uses.
            timeout_s: Longest silence of the server, in seconds.
        """
        return client(
            api_key=self._key,
            # Not None: the SDK would look for an address in the environment.
            base_url=self.address or self.default_address,
            # `Calls` retries; while it waits, other calls can use the free slot.
            max_retries=0,
            timeout=timeout_s,
            http_client=http_client,
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()
