"""Many calls at once to a server that may be busy, broken or paid for: bounds, patience, a stop."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from traitvec_core.errors import TraitvecError

__all__ = ["AdaptiveLimit", "CallError", "Calls", "StopError", "for_each"]

_T = TypeVar("_T")
# Kinds of failure. `busy` asks for fewer calls at once; `again` may be luck; `refused` would fail
# again, and perhaps every other call too; `changed` was refused for something that can be left out;
# `final` is about this one prompt; `stop` ends the run.
Kind = Literal["busy", "again", "unreachable", "changed", "refused", "final", "stop"]

# With the waits between them, about a minute: a server that restarts is waited for.
MAX_ATTEMPTS = 9
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
# A server that says to come back later than this is out of order, and its word is not kept.
_LONGEST_RETRY_AFTER_S = 300.0
# This many failed judgements in a row, and no more are tried.
_STOP_AFTER_FAILURES = 20
# A server that never answered anything is given up on after this many attempts of one call.
_ATTEMPTS_TO_REACH = 4
# Calls start one after the other, so that neither side has to handle them all in one moment.
_START_GAP_S = 0.0015
_CLOSING_S = 0.05


class StopError(TraitvecError):
    """No further call can succeed; what is finished is kept."""


class CallError(Exception):
    """A call that failed.

    Args:
        kind: What it means for the next one.
        reason: What happened, in a few words, without keys.
        retry_after_s: When the server wants to be asked again.
        complaint: The server's message when it refused the request itself.
        is_too_long: Whether the prompt, with room for the answer, exceeds the model's context.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        *,
        retry_after_s: float | None = None,
        complaint: str = "",
        is_too_long: bool = False,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.complaint = complaint
        self.is_too_long = is_too_long


class AdaptiveLimit:
    """At most `bound` calls at once: half as many when the server is busy, then slowly more again.

    Args:
        bound: The most that there may ever be.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.width = float(bound)
        self.in_flight = 0
        self._resume_at = 0.0
        self._shrunk_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> float:
        """Wait for a place; returns the time at which it was given."""
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
            # The place that it was woken for is another's now.
            self._wake()
            raise

    def release(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        self._wake()

    def succeeded(self) -> None:
        """Climb back by one place for every round of calls that went well."""
        self.width = min(self.bound, self.width + 1 / self.width)

    def busy(self, called_at: float, retry_after_s: float | None) -> None:
        """Halve, once for all the calls that were under way together; all wait if so asked."""
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


@dataclass
class Calls:
    """Calls to one server, with what they have in common.

    Attributes:
        limit: How many at once.
        timeout_s: Longest time that one may take.
        server: The server's name, for messages.
    """

    limit: AdaptiveLimit
    timeout_s: float
    server: str
    _n_succeeded: int = 0
    _failed_in_a_row: int = 0

    async def call(self, once: Callable[[], Awaitable[_T]]) -> _T:
        """Call until it succeeds or is beyond hope.

        Args:
            once: One attempt; it raises `CallError` when it fails.

        Returns:
            What the attempt that succeeded returned.

        Raises:
            CallError: If every attempt failed; its reason is the last one's.
            StopError: If no other call can succeed either.
        """
        attempt = 0
        while True:
            try:
                result = await self._attempt(once)
            except CallError as error:
                attempt += 1
                self._give_up_if_hopeless(error, attempt)
                await asyncio.sleep(wait_before_retry_s(error, attempt))
            else:
                self._n_succeeded += 1
                self._failed_in_a_row = 0
                self.limit.succeeded()
                return result

    async def _attempt(self, once: Callable[[], Awaitable[_T]]) -> _T:
        called_at = await self.limit.acquire()
        try:
            async with asyncio.timeout(self.timeout_s):
                return await once()
        except TimeoutError:
            # Its connection is being closed; the server should know before the next call comes.
            await asyncio.sleep(_CLOSING_S)
            raise CallError("again", f"no answer within {self.timeout_s:g} s") from None
        except CallError as error:
            if error.kind == "busy":
                self.limit.busy(called_at, _patience_s(error))
            raise
        finally:
            self.limit.release()

    def _give_up_if_hopeless(self, error: CallError, attempt: int) -> None:
        if error.kind == "stop":
            raise StopError(error.reason) from None
        if error.kind == "unreachable" and not self._n_succeeded and attempt >= _ATTEMPTS_TO_REACH:
            raise StopError(
                f"{self.server} cannot be reached ({error.reason}); check the address and the"
                " network, then run again"
            ) from None
        if error.kind in {"final", "changed"}:
            raise error
        if error.kind != "refused" and attempt < MAX_ATTEMPTS:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _STOP_AFTER_FAILURES:
            raise StopError(
                f"{self._failed_in_a_row} calls to {self.server} failed one after the other, the"
                f" last with: {error.reason}. What is finished is kept; run again to go on"
            ) from None
        raise error


async def for_each(
    items: Sequence[_T], work: Callable[[_T], Awaitable[None]], workers: int
) -> None:
    """Do something with every item, `workers` at a time; the first exception ends it all."""
    left = iter(items)

    async def worker(number: int) -> None:
        await asyncio.sleep(number * _START_GAP_S)
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(min(workers, len(items))):
                group.create_task(worker(number))
    except ExceptionGroup as errors:
        # One is enough to tell, and the caller expects it bare.
        raise _first(errors) from None


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _patience_s(error: CallError) -> float | None:
    asked = error.retry_after_s
    return asked if asked is not None and 0 <= asked <= _LONGEST_RETRY_AFTER_S else None


def wait_before_retry_s(error: CallError, attempt: int) -> float:
    asked = _patience_s(error)
    if asked is not None:
        # Not all at the same moment.
        return asked + random.uniform(0, 0.25)  # noqa: S311
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
    return random.uniform(longest / 2, longest)  # noqa: S311
