"""The interface of a model behind an API: requests, answers, batches, and their cost."""

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
    """Tokens of one call; `tokens_in` includes `cached`."""

    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0


class RefusedError(Exception):
    """The judge, or its provider's content filter, refuses this prompt."""


class Learned(Exception):  # noqa: N818  # not an error: it leads to a better request
    """An answer showed that the model's capabilities differ from those assumed."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__()
        self.capabilities = capabilities


class ApiModel(Protocol):
    """A model behind an API: builds requests for it and reads its answers."""

    provider: str
    name: str
    address: str
    key_name: str

    @property
    def server_name(self) -> str:
        """The server, as messages name it."""
        ...

    @property
    def address_setting(self) -> str:
        """The setting or variable that names the server; empty for the provider's own."""
        ...

    def request(self, prompt: str, can: Capabilities, room: int) -> dict[str, Any]:
        """Return the body of a request.

        Args:
            prompt: What to judge.
            can: What the API accepts.
            room: How often an answer was truncated; the token limit grows fourfold each time.
        """
        ...

    async def read(self, data: Any, prompt: str, can: Capabilities, ask: Ask | None) -> Score:
        """Return the score in an answer.

        Args:
            data: The decoded body.
            prompt: What was judged.
            can: The capabilities that the request assumed.
            ask: Sends another request when one answer is not enough; None in a batch.

        Raises:
            UnusableAnswerError: If there is no score.
            RefusedError: If the judge or a content filter refused.
            Learned: If the model's capabilities differ from `can`.
        """
        ...

    def usage(self, data: Any) -> Usage:
        """Return the tokens that an answer reports."""
        ...

    def without(
        self, complaint: str, body: dict[str, Any], can: Capabilities
    ) -> Capabilities | None:
        """Return the capabilities without the one that the server's complaint is about.

        None if the complaint is about nothing that the next request could leave out.
        """
        ...

    def most_tokens_out(self, can: Capabilities) -> int:
        """Return the most tokens that an answer may have."""
        ...

    async def open(self, timeout_s: float) -> None:
        """Connect within a running event loop."""
        ...

    async def post(self, body: dict[str, Any]) -> Any:
        """Send a request; returns the decoded answer.

        Raises:
            CallError: If there is no answer.
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
    """Adds up the tokens and dollars of all attempts at one judgement."""

    def __init__(self, price: JudgePrice | None, factor: float = 1.0) -> None:
        self._price = price
        self._factor = factor
        self._tokens_in = 0
        self._tokens_out = 0
        self.usd = None if price is None else 0.0

    def add(self, usage: Usage) -> None:
        """Add the tokens of a call."""
        self._tokens_in += usage.tokens_in
        self._tokens_out += usage.tokens_out
        if self._price is not None and self.usd is not None:
            self.usd += self._factor * self._price.usd(
                usage.tokens_in, usage.tokens_out, usage.cached
            )

    def judgement(
        self, score: float | None, status: Status, reason: str = "", is_final: bool = True
    ) -> Judgement:
        """Return a judgement with the total cost."""
        return Judgement(
            score, status, reason, self._tokens_in, self._tokens_out, self.usd, is_final
        )
