"""Keeps an experiment's spending on judgements below `max_judge_usd`."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from traitvec_core.experiment import JudgePrice

__all__ = ["Budget", "most_usd"]

# For the most that a call can cost: fewest ASCII characters per token, and most tokens that the
# request adds to the prompt (a tool adds the most).
_CHARS_PER_TOKEN = 2.0
_TOKENS_AROUND = 600


def most_usd(price: JudgePrice | None, prompt: str, tokens_out: int) -> float:
    """Return the most that one call can cost, in US dollars; 0 when the price is not known.

    Args:
        price: The model's price.
        prompt: What is sent.
        tokens_out: The most tokens of the answer.
    """
    if price is None:
        return 0.0
    # No tokenizer makes more than one token per byte; non-Latin scripts and emoji come close.
    extra_bytes = len(prompt.encode("utf-8", "replace")) - len(prompt)
    tokens_in = int(len(prompt) / _CHARS_PER_TOKEN) + extra_bytes + _TOKENS_AROUND
    return price.usd(tokens_in, tokens_out)


@dataclass
class Budget:
    """The budget of an experiment for judgements, over all its runs.

    Attributes:
        limit_usd: Upper limit.
        spent_usd: Returns what the store has recorded so far, by this run and others.
    """

    limit_usd: float
    spent_usd: Callable[[], float]
    # Most that running calls can cost; paid but not yet in the store; recorded in the store.
    _n_under_way: int = 0
    _reserved_usd: float = 0.0
    _paid_usd: float = 0.0
    _known_usd: float = 0.0
    _asked_at: float = float("-inf")
    _settled: asyncio.Condition = field(default_factory=asyncio.Condition)

    def begin(self) -> None:
        """Forget the reservations of an earlier call of `score`, which may have been cancelled."""
        self._n_under_way, self._reserved_usd, self._paid_usd = 0, 0.0, 0.0
        self._asked_at = float("-inf")
        # A condition belongs to the event loop of its first wait.
        self._settled = asyncio.Condition()

    @property
    def reason(self) -> str:
        """The reason of judgements that no longer fit."""
        return f"the budget of ${self.limit_usd:g} is spent"

    async def reserve(self, usd: float, *, waits: bool = True) -> bool:
        """Reserve the most that a call can cost; returns False when it does not fit.

        Args:
            usd: The most that the call can cost.
            waits: Wait for running calls first: most cost less than their reservation.
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
        # Other runs spend too, but summing over the whole store for every call is slow.
        if now - self._asked_at > 1.0:
            self._known_usd, self._asked_at = self.spent_usd(), now
        return self._known_usd + self._paid_usd + self._reserved_usd + usd <= self.limit_usd

    async def settle(self, reserved_usd: float, paid_usd: float) -> None:
        """Replace a reservation by the amount paid."""
        async with self._settled:
            self._n_under_way -= 1
            self._reserved_usd = self._reserved_usd - reserved_usd if self._n_under_way else 0.0
            self._paid_usd += paid_usd
            self._settled.notify_all()

    def kept(self, paid_usd: float) -> None:
        """Move an amount from paid to recorded: its judgement is now in the store."""
        self._paid_usd = max(0.0, self._paid_usd - paid_usd)
        self._known_usd += paid_usd
