"""Many concurrent calls to one server: bounded, retried, and stopped when none can succeed."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from traitvec_core.errors import TraitvecError
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.waiting import Waiting, WaitingCall

__all__ = [
    "CallError",
    "Calls",
    "ServerGoneError",
    "StopError",
    "for_each",
    "wait_before_retry_s",
]

_T = TypeVar("_T")
# Kinds of failure. `busy`: fewer calls at once; `again`: a retry may succeed; `slow`: no answer in
# time; `unreachable`: no connection; `lost`: a connection that broke; `changed`: refused for an
# option that the next request leaves out; `refused`: a retry would fail, and perhaps every other
# call; `final`: only this prompt fails; `stop`: all calls fail.
Kind = Literal[
    "busy", "again", "slow", "unreachable", "lost", "changed", "refused", "final", "stop"
]

# About a minute with the waits between them: long enough for a server to restart.
MAX_ATTEMPTS = 9
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
# A longer retry-after is a server error, and is ignored.
_LONGEST_RETRY_AFTER_S = 300.0
# Failed calls in a row after which the run stops.
_STOP_AFTER_FAILURES = 20
# Attempts of one call at a server that has not answered any call; fewer where each takes long.
_ATTEMPTS_TO_REACH = 4
_LONGEST_TO_REACH_S = 5.0
# A server that connects, but has not answered any call in this time, is given up.
REACHED_WITHIN_S = 60.0
# Failures without any word from the server's own program. `again` may be a proxy's.
_NO_ANSWER = {"slow", "unreachable", "lost", "again"}
# An attempt that times out is repeated while those before it took less than this.
_LONGEST_TIMEOUTS_S = 900.0
# Calls start one after the other, to spare both sides a burst.
_START_GAP_S = 0.0015
_CLOSING_S = 0.05
_TIMER_S = 0.02


class StopError(TraitvecError):
    """No further call can succeed; finished work is kept."""


class ServerGoneError(StopError):
    """A server that has answered does not answer any more, and did not return."""


class CallError(Exception):
    """A call that failed.

    Args:
        kind: What the failure means for the next call.
        reason: What happened, in a few words, without keys.
        retry_after_s: The wait that the server asks for, in seconds.
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


@dataclass
class Calls:
    """Calls to one server, with a common limit and a common count of failures.

    Attributes:
        limit: Limits concurrent calls.
        timeout_s: Timeout of one attempt.
        server: The server's name, for messages.
        address_setting: The setting that names its address, for messages.
        say: Called with a line when the server stops answering, and while it is waited for.
        has_answered: Whether the server has answered a call, now or before.
        role: What the server is here, for messages.
        timeout_setting: The setting of `timeout_s`, for messages.
    """

    limit: AdaptiveLimit
    timeout_s: float
    server: str
    address_setting: str = ""
    say: Callable[[str], None] = lambda text: None
    has_answered: bool = False
    role: str = "server"
    timeout_setting: str = ""
    _failed_in_a_row: int = 0
    _away_since: float | None = None
    # When the server was first called since it has last shown to be there.
    _silent_since: float | None = None
    _waiting: Waiting = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = Waiting(f"the {self.role} ({self.server})", self.say)

    async def call(
        self, once: Callable[[], Awaitable[_T]], *, timeout_s: float | None = None
    ) -> _T:
        """Call until an attempt succeeds or no retry can.

        Args:
            once: One attempt; it raises `CallError` when it fails.
            timeout_s: Timeout of one attempt, if not that of all calls.

        Returns:
            The result of the successful attempt.

        Raises:
            CallError: If every attempt failed; with the reason of the last one.
            StopError: If no other call can succeed either.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        failures: list[CallError] = []
        failing_since = 0.0
        waited = self._waiting.begin()
        while True:
            try:
                result = await self._attempt(once, timeout_s, waited)
            except CallError as error:
                failing_since = failing_since or time.monotonic()
                failures.append(error)
                failing_s = time.monotonic() - failing_since
                self._stop_if_hopeless(failures, failing_s)
                # An outage that is over does not count: what follows has its own attempts.
                is_away = error.kind == "unreachable"
                attempt = sum((other.kind == "unreachable") == is_away for other in failures)
                self._raise_if_failed(error, attempt, timeout_s)
                wait_s = self._bounded_wait_s(error, wait_before_retry_s(error, attempt))
                if error.kind == "busy":
                    waited.is_busy(error.reason, wait_s, attempt + 1, MAX_ATTEMPTS)
                else:
                    waited.retries(error.reason, wait_s)
                await asyncio.sleep(wait_s)
            else:
                self._waiting.answered()
                self._failed_in_a_row = 0
                self._away_since = None
                self.has_answered = True
                self.limit.succeeded()
                return result

    async def _attempt(
        self, once: Callable[[], Awaitable[_T]], timeout_s: float, waited: WaitingCall
    ) -> _T:
        called_at = await self.limit.acquire()
        self._silent_since = self._silent_since or called_at
        try:
            with waited.attempt():
                async with asyncio.timeout(timeout_s):
                    return await once()
        except TimeoutError:
            # Let the connection close, so that the server notices before the next call.
            await asyncio.sleep(_CLOSING_S)
            raise CallError("slow", f"no answer within {timeout_s:g} s") from None
        except CallError as error:
            if error.kind == "busy":
                self.limit.busy(called_at, _requested_wait_s(error))
            raise
        finally:
            self.limit.release()

    def _stop_if_hopeless(self, failures: list[CallError], failing_s: float) -> None:
        error, attempt = failures[-1], len(failures)
        if error.kind == "stop":
            raise StopError(error.reason) from None
        self._stop_if_silent(error)
        if error.kind not in {"unreachable", "lost"}:
            return
        if not self.has_answered:
            is_slow = attempt > 1 and failing_s > _LONGEST_TO_REACH_S
            if attempt >= _ATTEMPTS_TO_REACH or (is_slow and error.kind == "unreachable"):
                setting = self.address_setting or "the address"
                raise StopError(
                    f"{self.server} cannot be reached ({error.reason}); check {setting} and the"
                    " network, then run again"
                ) from None
        elif error.kind == "unreachable":
            self._wait_for_return(failures)

    def _stop_if_silent(self, error: CallError) -> None:
        """Stop when a server has not shown within a minute that it is there."""
        if self.has_answered or self._silent_since is None:
            return
        if _shows_server(error):
            self._silent_since = None
            return
        silent_s = time.monotonic() - self._silent_since
        if silent_s < REACHED_WITHIN_S:
            return
        setting = self.address_setting or "the address"
        longer = f", or raise {self.timeout_setting}" if self.timeout_setting else ""
        raise StopError(
            f"{self.server} gave no answer in {silent_s:.0f} s ({error.reason}); check {setting}"
            f" and the {self.role}{longer if error.kind == 'slow' else ''}, then run again"
        ) from None

    def _bounded_wait_s(self, error: CallError, wait_s: float) -> float:
        if self.has_answered or self._silent_since is None or _shows_server(error):
            return wait_s
        # So that the last attempt comes when the server would be given up; a timer may be early.
        left_s = self._silent_since + REACHED_WITHIN_S - time.monotonic() + _TIMER_S
        return max(0.0, min(wait_s, left_s))

    def _wait_for_return(self, failures: list[CallError]) -> None:
        now, reason = time.monotonic(), failures[-1].reason
        if self._away_since is None:
            self._away_since = now
            self.say(
                f"{self.server} does not answer ({reason}); waiting up to {_longest_wait_s():.0f} s"
                " for it"
            )
        away_s = now - self._away_since
        if away_s >= _longest_wait_s():
            first = failures[0].reason
            before = "" if first == reason else f"after: {first}; "
            setting = self.address_setting or "the address"
            raise ServerGoneError(
                f"{self.server} is gone ({before}{reason} for {away_s:.0f} s). Finished work is"
                f" kept; restart it or check {setting}, then run again"
            ) from None

    def _raise_if_failed(self, error: CallError, attempt: int, timeout_s: float) -> None:
        if error.kind in {"final", "changed"}:
            raise error
        most = MAX_ATTEMPTS
        if error.kind == "slow":
            most = min(most, 1 + int(_LONGEST_TIMEOUTS_S // timeout_s))
        elif error.kind == "unreachable":
            # Until the wait for its return is over; fewer where other calls are answered.
            most = 2 * MAX_ATTEMPTS
        if error.kind != "refused" and attempt < most:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _STOP_AFTER_FAILURES:
            raise StopError(
                f"{self._failed_in_a_row} calls to {self.server} failed in a row, the last with:"
                f" {error.reason}. Finished work is kept; run again to continue"
            ) from None
        raise error


async def for_each(
    items: Sequence[_T], work: Callable[[_T], Awaitable[None]], workers: int
) -> None:
    """Call `work` for every item, `workers` at a time; the first exception cancels the rest."""
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
        # Callers expect a plain exception, and one is enough.
        raise _first(errors) from None


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _shows_server(error: CallError) -> bool:
    return error.kind not in _NO_ANSWER or error.retry_after_s is not None


def _requested_wait_s(error: CallError) -> float | None:
    wait_s = error.retry_after_s
    return wait_s if wait_s is not None and 0 <= wait_s <= _LONGEST_RETRY_AFTER_S else None


def _longest_wait_s() -> float:
    """Return the longest time between the first attempt of a call and the last."""
    return sum(_wait_s(attempt) for attempt in range(1, MAX_ATTEMPTS))


def _wait_s(attempt: int) -> float:
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1)))


def wait_before_retry_s(error: CallError, attempt: int) -> float:
    """Return the wait after an attempt (from 1): the server's, or a random doubling one."""
    requested = _requested_wait_s(error)
    if requested is not None:
        # Random, so that calls do not all return at the same moment.
        return requested + random.uniform(0, 0.25)  # noqa: S311
    longest = _wait_s(attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311
