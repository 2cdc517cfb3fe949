"""Limits concurrent calls to one server by how busy it says that it is."""

import asyncio
import time
from collections import deque

__all__ = ["AdaptiveLimit"]


class AdaptiveLimit:
    """Limits concurrent calls to `bound`: halved when the server is busy, then slowly raised.

    Args:
        bound: Upper limit.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.width = float(bound)
        self.in_flight = 0
        self._resume_at = 0.0
        self._shrunk_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> float:
        """Wait for a free slot; returns the monotonic time at which it was taken."""
        try:
            while True:
                pause = self._resume_at - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                elif self.in_flight < max(1, int(self.width)):
                    self.in_flight += 1
                    return time.monotonic()
                else:
                    place = asyncio.get_running_loop().create_future()
                    self._waiting.append(place)
                    await place
        except asyncio.CancelledError:
            # Pass on the slot that it was woken for.
            self._wake()
            raise

    def release(self) -> None:
        """Free a slot."""
        self.in_flight -= 1
        self._wake()

    def succeeded(self) -> None:
        """Raise the limit by one slot per round of successful calls."""
        self.width = min(self.bound, self.width + 1 / self.width)

    def busy(self, called_at: float, retry_after_s: float | None) -> None:
        """Halve the limit, once per round of calls; all calls wait if the server asks for it."""
        if called_at >= self._shrunk_at:
            self.width = max(1.0, self.width / 2)
            self._shrunk_at = time.monotonic()
        if retry_after_s:
            self._resume_at = max(self._resume_at, time.monotonic() + retry_after_s)

    def _wake(self) -> None:
        free = max(1, int(self.width)) - self.in_flight
        while self._waiting and free > 0:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1
