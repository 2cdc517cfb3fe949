"""Reads one small page of a server: whole, in time, and from that server alone."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traitvec_core.remote.answers import parse_json
from traitvec_core.remote.run_async import run_async

__all__ = ["Page", "PageError", "read_page"]

_MOST_BYTES = 4 * 1024**2
_DEADLINE_S = 8.0


class PageError(Exception):
    """A page that was not read; the message says why, without the address."""


@dataclass(frozen=True)
class Page:
    """A page that was read.

    Attributes:
        status: The HTTP status.
        body: The body.
    """

    status: int
    body: bytes

    @property
    def data(self) -> Any:
        """The decoded JSON of the body; None when it is none."""
        try:
            return parse_json(self.body)
        except ValueError:
            return None


def read_page(
    address: str, headers: Mapping[str, str] | None = None, deadline_s: float = _DEADLINE_S
) -> Page:
    """Read a page by GET. Follows no redirect: a key must not reach another host.

    Args:
        address: The page.
        headers: Headers to send, such as a key.
        deadline_s: Time for everything, from connecting to the last byte, in seconds.

    Raises:
        PageError: If there is no answer, or it is longer than 4 MiB or compressed.
    """
    import httpx

    try:
        return run_async(_read(address, dict(headers or {}), deadline_s))
    except TimeoutError:
        raise PageError(f"no answer within {deadline_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise PageError(type(error).__name__) from None


async def _read(address: str, headers: dict[str, str], deadline_s: float) -> Page:
    import httpx

    # What is compressed has no bound.
    headers["accept-encoding"] = "identity"
    body = bytearray()
    async with (
        # httpx's own timeouts are for each read: a server that sends a byte now and then passes.
        asyncio.timeout(deadline_s),
        httpx.AsyncClient(headers=headers, timeout=deadline_s) as client,
        client.stream("GET", address) as answer,
    ):
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise PageError("a compressed answer, which was not asked for")
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > _MOST_BYTES:
                raise PageError(f"an answer of more than {_MOST_BYTES:,} bytes")
    return Page(answer.status_code, bytes(body))
