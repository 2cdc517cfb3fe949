"""What an experiment may spend on judgements."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Budget"]


@dataclass
class Budget:
    """What an experiment may spend on judgements, over all its runs.

    Attributes:
        limit_usd: The most.
        spent_usd: Asks the store for what has been spent so far, by this and by other runs.
    """

    limit_usd: float
    spent_usd: Callable[[], float]
    # What calls under way may cost; what was paid and is not in the store yet; what is.
    _n_under_way: int = 0
    _reserved_usd: float = 0.0
    _paid_usd: float = 0.0
    _known_usd: float = 0.0
    _asked_at: float = float("-inf")
    _settled: asyncio.Condition = field(default_factory=asyncio.Condition)

    def begin(self) -> None:
        """Start anew: no call is under way, whatever became of an earlier run."""
        self._n_under_way, self._reserved_usd, self._paid_usd = 0, 0.0, 0.0
        self._asked_at = float("-inf")
        # Bound to the event loop in which it is first waited for.
        self._settled = asyncio.Condition()

    @property
    def reason(self) -> str:
        """Why what no longer fits is missing."""
        return f"the budget of ${self.limit_usd:g} is spent"

    async def reserve(self, usd: float, *, waits: bool = True) -> bool:
        """Set aside what a call may cost at most; False when it does not fit.

        Args:
            usd: What the call may cost.
            waits: Wait for the calls that are under way first: most cost less than they might.
        """
        async with self._settled:
            while not self._fits(usd):
                if not waits or not self._n_under_way:
                    return False
                await self._settled.wait()
            self._n_under_way += 1
            self._reserved_usd += usd
            return True

    def _fits(self, usd: float) -> bool:
        now = time.monotonic()
        # Other runs spend too, but a sum over the whole store is not made for every call.
        if now - self._asked_at > 1.0:
            self._known_usd, self._asked_at = self.spent_usd(), now
        return self._known_usd + self._paid_usd + self._reserved_usd + usd <= self.limit_usd

    async def settle(self, reserved_usd: float, paid_usd: float) -> None:
        """Replace a reservation by what was paid."""
        async with self._settled:
            self._n_under_way -= 1
            self._reserved_usd = self._reserved_usd - reserved_usd if self._n_under_way else 0.0
            self._paid_usd += paid_usd
            self._settled.notify_all()

    def kept(self, paid_usd: float) -> None:
        """Note that what was paid for is in the store now."""
        self._paid_usd = max(0.0, self._paid_usd - paid_usd)
        self._known_usd += paid_usd
