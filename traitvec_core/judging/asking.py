"""What a judge behind an API is asked, and what its answers cost."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from traitvec_core.experiment import JudgePrice
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.reading import (
    Judgement,
    Status,
)

__all__ = [
    "ApiModel",
    "Ask",
    "BatchResult",
    "BatchState",
    "Learned",
    "RefusedError",
    "Score",
    "Spent",
    "Usage",
]

Score = float | Literal["REFUSAL"]
Ask = Callable[[dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Usage:
    """Tokens of one call; `cached` are among those read."""

    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0


class RefusedError(Exception):
    """The judge, or its provider's filter, will not judge this prompt."""


class Learned(Exception):  # noqa: N818  # no error: the next request is a better one
    """An answer showed that the model's abilities are other than assumed."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__()
        self.capabilities = capabilities


class ApiModel(Protocol):
    """One provider's way of asking and answering."""

    provider: str
    name: str
    address: str
    key_name: str

    @property
    def server_name(self) -> str:
        """The server, as messages name it."""
        ...

    def request(self, prompt: str, can: Capabilities, room: int) -> dict[str, Any]:
        """The request's body.

        Args:
            prompt: What to judge.
            can: What the model's API takes.
            room: 0, or how often an answer was cut off before: each time it gets four times more.
        """
        ...

    async def read(self, data: Any, prompt: str, can: Capabilities, ask: Ask | None) -> Score:
        """The score in an answer's body.

        Args:
            data: The decoded body.
            prompt: What was judged.
            can: What the request was made for.
            ask: Sends another body, when one answer does not hold all that is needed; None where
                that cannot be done.

        Raises:
            UnusableAnswerError: If there is none.
            RefusedError: If the judge or a filter refused.
            Learned: If the model's abilities are other than `can`.
        """
        ...

    def usage(self, data: Any) -> Usage:
        """Tokens that an answer's body accounts for."""
        ...

    def without(
        self, complaint: str, body: dict[str, Any], can: Capabilities
    ) -> Capabilities | None:
        """What is left when a request was refused with this complaint.

        None if it is about nothing that could be left out.
        """
        ...

    def most_tokens_out(self, can: Capabilities) -> int:
        """The most that an answer can be, in tokens."""
        ...

    async def open(self, timeout_s: float) -> None:
        """Connect within a running event loop."""
        ...

    async def post(self, body: dict[str, Any]) -> Any:
        """Send a body; returns the decoded answer.

        Raises:
            CallError: If there is none.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


@dataclass(frozen=True)
class BatchState:
    """How far a batch is.

    Attributes:
        done: Requests that were answered, successfully or not.
        is_ended: Whether there is nothing more to wait for.
        failure: Why the provider rejected or stopped it; empty otherwise.
        is_gone: Whether the provider has no such batch (any more), or not for this key.
    """

    done: int
    is_ended: bool
    failure: str = ""
    is_gone: bool = False


@dataclass(frozen=True)
class BatchResult:
    """The result of one request of a batch.

    Attributes:
        key: The judgement's key.
        data: The answer's body; None when there is none.
        is_expired: Whether the batch ended before the provider processed the request.
    """

    key: str
    data: Any | None
    is_expired: bool = False


class Spent:
    """What the attempts at one judgement came to."""

    def __init__(self, price: JudgePrice | None, factor: float = 1.0) -> None:
        self._price = price
        self._factor = factor
        self._tokens_in = 0
        self._tokens_out = 0
        self.usd = None if price is None else 0.0

    def add(self, usage: Usage) -> None:
        """Add what a call came to."""
        self._tokens_in += usage.tokens_in
        self._tokens_out += usage.tokens_out
        if self._price is not None and self.usd is not None:
            self.usd += self._factor * self._price.usd(
                usage.tokens_in, usage.tokens_out, usage.cached
            )

    def judgement(
        self, score: float | None, status: Status, reason: str = "", is_final: bool = True
    ) -> Judgement:
        """Return a judgement that cost all this."""
        return Judgement(
            score, status, reason, self._tokens_in, self._tokens_out, self.usd, is_final
        )
