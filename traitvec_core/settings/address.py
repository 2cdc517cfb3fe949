"""The rule for addresses of servers."""

import re
from urllib.parse import urlsplit

__all__ = ["check_address"]

# The owner must see all of an address before they allow it.
_LONGEST = 300


def check_address(address: str, key_name: str = "JUDGE_API_KEY") -> None:
    """Raise if a server's address is not valid, or contains a secret.

    Args:
        address: The address.
        key_name: The environment variable for the server's key, for the message.

    Raises:
        ValueError: Why the address is refused. The message does not repeat it.
    """
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_usable = is_usable and parts.port != 0 and not re.search(r"\s|\\", address)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError("is not a valid address; write one such as http://127.0.0.1:8000/v1")
    if not address.isascii():
        # Some look like others: the first letter of `аpi.openai.com` can be Cyrillic.
        raise ValueError("contains letters outside ASCII; write the host's name as `xn--…`")
    if len(address) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters; check it")
    if parts.username or parts.password or parts.query or parts.fragment:
        # The address is written to metadata and reports.
        raise ValueError(f"contains a key or a password; put it into .env as {key_name} instead")
