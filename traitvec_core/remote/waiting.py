"""Says that a server is waited for, when nothing has been heard from it for a while."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Waiting", "WaitingCall"]

# The first line comes after this time, and each later one after twice the time before it: neither
# silence, nor a log full of lines about a model that takes minutes for an answer.
FIRST_LINE_S = 10.0
LOOK_EVERY_S = 1.0
# A server that says that it is busy will be asked again, and the line says when: it comes sooner.
# Between two such lines there is at least this time for each line before, so that a run that is
# slowed down for hours has one a minute.
FIRST_BUSY_LINE_S = 3.0
BUSY_GAP_S, LONGEST_BUSY_GAP_S = 5.0, 60.0


class Waiting:
    """What concurrent calls to one server say together while none is answered.

    Args:
        who: What is waited for.
        say: Called with a line.
    """

    def __init__(self, who: str, say: Callable[[str], None]) -> None:
        self.who = who
        self._say = say
        self._answered_at = float("-inf")
        self._next_s = FIRST_LINE_S
        self._n_busy = 0
        self._busy_said_at = float("-inf")

    def begin(self) -> "WaitingCall":
        """Return a call that is about to be made."""
        return WaitingCall(self)

    def answered(self) -> None:
        """Note that a call was answered."""
        self._answered_at = time.monotonic()
        self._next_s = FIRST_LINE_S

    def quiet_s(self, since: float) -> float:
        """Return for how long no call was answered, counted from `since` at the earliest."""
        return time.monotonic() - max(since, self._answered_at)

    def say_if_due(self, since: float, text: str) -> None:
        """Say what is waited for, unless that was said lately."""
        if self.quiet_s(since) >= self._next_s:
            self._next_s = 2 * max(self._next_s, self.quiet_s(since))
            self._say(f"waiting for {self.who}, {text}")

    def say_if_busy(self, since: float, text: str) -> None:
        """Say when a busy server is asked again, unless calls are answered or it was said lately.

        Args:
            since: When the call was first made.
            text: What is busy about it, and when it is asked again.
        """
        now = time.monotonic()
        gap_s = min(LONGEST_BUSY_GAP_S, self._n_busy * BUSY_GAP_S)
        if self.quiet_s(since) < FIRST_BUSY_LINE_S or now - self._busy_said_at < gap_s:
            return
        self._n_busy, self._busy_said_at = self._n_busy + 1, now
        self._next_s = 2 * max(self._next_s, self.quiet_s(since))
        self._say(f"{self.who} {text}")


class WaitingCall:
    """One call, from its first attempt on."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._number = 0
        self._since = float("inf")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Say now and then that there is no answer while an attempt is in progress."""
        self._number += 1
        self._since = min(self._since, time.monotonic())
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal timer
            quiet_s = self._waiting.quiet_s(self._since)
            self._waiting.say_if_due(
                self._since, f"attempt {self._number}, no answer for {quiet_s:.0f} s"
            )
            timer = loop.call_later(LOOK_EVERY_S, look)

        timer = loop.call_later(LOOK_EVERY_S, look)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def retries(self, reason: str, wait_s: float) -> None:
        """Say when the next attempt begins, unless another line has just been said."""
        self._waiting.say_if_due(
            self._since, f"attempt {self._number + 1}, next in {wait_s:.0f} s ({reason})"
        )

    def is_busy(self, reason: str, wait_s: float, attempt: int, most: int) -> None:
        """Say that the server is busy, and when the next attempt begins.

        Args:
            reason: What the server said, in a few words.
            wait_s: The time until then, in seconds.
            attempt: Number of the next attempt, from 1.
            most: The number of attempts after which the call is given up.
        """
        self._waiting.say_if_busy(
            self._since, f"is {reason}, next try in {wait_s:.0f} s, attempt {attempt} of {most}"
        )
