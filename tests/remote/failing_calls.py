"""Calls that always fail or succeed, and how often they are tried."""

import asyncio

import pytest

from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls, StopError


def attempts_of(error: CallError, together: Calls | None = None) -> tuple[int, Exception]:
    """How often a call that always fails is tried, and what comes of it."""
    n = 0

    async def once() -> None:
        nonlocal n
        n += 1
        raise error

    together = together or Calls(AdaptiveLimit(4), 5.0, "example.org")
    with pytest.raises((CallError, StopError)) as raised:
        asyncio.run(together.call(once))
    assert together.limit.in_flight == 0
    return n, raised.value


async def fine() -> str:
    return "fine"
