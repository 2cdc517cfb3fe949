"""How long a steering evaluation still takes: responses to generate, and responses to judge."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["TimeLeft"]


@dataclass
class _Work:
    """One kind of work.

    Attributes:
        n: Responses done, including those that an earlier run had done.
        n_now: Responses done now.
        seconds: What those took, in seconds.
    """

    n: float = 0.0
    n_now: float = 0.0
    seconds: float = 0.0

    def seconds_for(self, n: float) -> float | None:
        """Return the seconds that `n` responses will take; None if nothing is known yet."""
        if n <= 0:
            return 0.0
        return n * self.seconds / self.n_now if self.n_now else None


@dataclass
class TimeLeft:
    """Estimates the time left from what generating and judging took so far, each by itself.

    The two take turns, and one may be much slower: a judge in this process can need most of the
    time, one behind an API, which judges while responses are generated, next to none.

    Attributes:
        total: Responses that will be generated and judged, at most.
        clock: Returns the time in seconds.
    """

    total: int
    clock: Callable[[], float] = time.monotonic
    _generating: _Work = field(default_factory=_Work)
    _judging: _Work = field(default_factory=_Work)
    _since: float = 0.0

    def start(self) -> None:
        """Generating or judging begins now; what happened since the last report is not counted."""
        self._since = self.clock()

    def generated(self, n: float) -> None:
        """Count responses that were generated since the last report."""
        self._add(self._generating, n)

    def judged(self, n: float) -> None:
        """Count responses that were judged since the last report, in fractions if need be."""
        self._add(self._judging, n)

    def had_generated(self, n: float) -> None:
        """Count responses that an earlier, interrupted run had generated."""
        self._generating.n += n

    def had_judged(self, n: float) -> None:
        """Count responses that an earlier, interrupted run had judged."""
        self._judging.n += n

    def seconds(self) -> float | None:
        """Return the time left in seconds; None until both kinds of work have been seen."""
        parts = [
            work.seconds_for(self.total - work.n) for work in (self._generating, self._judging)
        ]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def _add(self, work: _Work, n: float) -> None:
        now = self.clock()
        work.seconds += now - self._since
        work.n += n
        work.n_now += n
        self._since = now
