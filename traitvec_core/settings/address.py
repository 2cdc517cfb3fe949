"""Addresses of servers."""

import re
from urllib.parse import urlsplit

__all__ = ["check_address"]


def check_address(address: str, key_name: str = "JUDGE_API_KEY") -> None:
    """Raise if an address cannot be used, or holds what must not be recorded.

    Args:
        address: A server's address.
        key_name: The variable that its key belongs into.

    Raises:
        ValueError: Says why, without the address.
    """
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_usable = is_usable and parts.port != 0 and not re.search(r"\s", address)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError("is no address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        # The address is recorded in many places.
        raise ValueError(f"holds a key or a password; put it into .env as {key_name}")
