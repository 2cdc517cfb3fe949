"""What both providers share: a model's name, its key, its server, and the SDK's client."""

from typing import Any

__all__ = ["Connection"]


class Connection:
    """A model behind an API, and the way there.

    Args:
        name: The model.
        key: The key; a server of one's own may need none.
        key_name: The variable that holds it, for messages.
        address: The server; empty for the provider itself.
    """

    # Of the provider itself.
    provider_name: str
    own_address: str

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
        """A client of the provider's SDK.

        Args:
            client: The SDK's class.
            http_client: How it speaks HTTP.
            timeout_s: Longest silence of the server.
        """
        return client(
            api_key=self._key,
            # Not None, which would let the SDK look for an address by itself.
            base_url=self.address or self.own_address,
            # Retries are ours: they must leave the place of the call to others while they wait.
            max_retries=0,
            timeout=timeout_s,
            http_client=http_client,
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()
