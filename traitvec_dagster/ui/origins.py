"""Which hosts and origins the UI answers, and the setting that adds to them."""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from traitvec_core.errors import TraitvecError

__all__ = ["ORIGINS_VARIABLE", "OwnOrigins", "own_origins"]

ORIGINS_VARIABLE = "TRAITVEC_UI_ORIGINS"
# A browser resolves these itself, so no page can make them point elsewhere.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Listening on all addresses names none of them.
_ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::", "[::]"})  # noqa: S104
_DEFAULT_PORT = {"http": 80, "https": 443}
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")


@dataclass(frozen=True)
class OwnOrigins:
    """What counts as the UI itself.

    Attributes:
        names: Hosts that are answered on any port: a port that is forwarded over SSH differs.
        listed: Further origins, `scheme://host[:port]`, as browsers write them.
    """

    names: frozenset[str]
    listed: frozenset[str] = frozenset()

    def is_own_host(self, host: str) -> bool:
        """Whether a `Host` header names this server. A page that rebinds its name does not."""
        host = host.lower()
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        return match["name"] in self.names or host in {urlsplit(one).netloc for one in self.listed}

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether an `Origin` header is that of a page of this server.

        Args:
            origin: The header.
            host: The request's `Host`, which is an own one.
        """
        return origin == f"http://{host.lower()}" or origin in self.listed


def own_origins(bound_host: str) -> OwnOrigins:
    """Return what counts as the UI itself: this machine, the bound host, `TRAITVEC_UI_ORIGINS`.

    Args:
        bound_host: The address that the server listens on.

    Raises:
        TraitvecError: If `TRAITVEC_UI_ORIGINS` has something that is not an origin.
    """
    bound = bound_host.lower()
    names = _LOOPBACK | (
        frozenset() if bound in _ALL_ADDRESSES else {f"[{bound}]" if ":" in bound else bound}
    )
    listed = [part.strip() for part in os.environ.get(ORIGINS_VARIABLE, "").split(",")]
    return OwnOrigins(frozenset(names), frozenset(_parse(one) for one in listed if one))


def _parse(text: str) -> str:
    """Return an origin as browsers write it."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    netloc = parts.netloc.removesuffix(f":{_DEFAULT_PORT.get(parts.scheme)}")
    is_origin = (
        parts.scheme in _DEFAULT_PORT
        and _HOST.fullmatch(netloc) is not None
        and port != 0
        and parts.path in {"", "/"}
        and not parts.query
        and not parts.fragment
    )
    if not is_origin:
        # Without what may be a password.
        shown = text.rpartition("@")[2][:80]
        raise TraitvecError(
            f"{ORIGINS_VARIABLE}: {shown!r} is not an origin; write scheme and host, such as"
            " https://dagster.example.org, with commas between several"
        )
    return f"{parts.scheme}://{netloc}"
