"""What writes: the interface of a writer, and a writer behind an API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import JudgePrice
from traitvec_core.judging.asking import Usage
from traitvec_core.judging.budget import most_usd
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.providers.table import known_capabilities
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls
from traitvec_core.remote.run_async import run_async

__all__ = ["ApiWriter", "Question", "Unusable", "Writer", "WriterModel", "Written"]

# Reasoning counts towards the limit of an answer's tokens.
_THINKING_TOKENS = 8192
# Capabilities that one request may turn out to lack, one after the other.
_MOST_CHANGES = 8


@dataclass(frozen=True)
class Question:
    """What a writer is asked.

    Attributes:
        prompt: The prompt.
        schema: JSON schema of the answer.
        room: The most tokens of the answer, reasoning not counted.
        seed: Seeds the answer, where the model has a seed.
    """

    prompt: str
    schema: dict[str, Any]
    room: int
    seed: int = 0


@dataclass(frozen=True)
class Unusable:
    """Why an answer has no text that can be read.

    Attributes:
        reason: What happened, as a phrase about the answer.
        is_cut_off: Whether the answer reached its limit of tokens.
        is_refusal: Whether the writer, or its provider's content filter, refused.
    """

    reason: str
    is_cut_off: bool = False
    is_refusal: bool = False


@dataclass(frozen=True)
class Written:
    """An answer.

    Attributes:
        text: What the writer wrote; what is wrong if that cannot be read.
        usage: The tokens that it took.
        usd: What it cost; None if the price is unknown.
    """

    text: str | Unusable
    usage: Usage
    usd: float | None


class Writer(Protocol):
    """A model that drafts definitions.

    Attributes:
        name: The model's name.
        provider: Its provider.
        address: Its server; empty for the provider's own or for none.
        identity: All that determines a draft besides the sentence, the prompts and the seed.
        price: What its tokens cost; None if that is unknown.
    """

    name: str
    provider: str
    address: str
    identity: str
    price: JudgePrice | None

    def ask(self, question: Question) -> Written:
        """Return the answer to a question.

        Raises:
            TraitvecError: If there is no answer; one line says why and what to do.
        """
        ...

    def most_usd(self, question: Question) -> float:
        """Return the most that an answer can cost, in US dollars; 0 if the price is unknown."""
        ...


class WriterModel(Protocol):
    """A model behind an API: builds requests to draft and reads the answers."""

    provider: str
    name: str
    address: str

    @property
    def server_name(self) -> str:
        """The server, as messages name it."""
        ...

    @property
    def address_setting(self) -> str:
        """The setting or variable that names the server; empty for the provider's own."""
        ...

    def draft_request(
        self, question: Question, can: Capabilities, max_tokens: int, *, is_seeded: bool
    ) -> dict[str, Any]:
        """Return the body of a request.

        Args:
            question: What is asked.
            can: What the API accepts.
            max_tokens: The most tokens of the answer, reasoning included.
            is_seeded: Whether the API accepts a seed.
        """
        ...

    def read_draft(self, data: Any) -> str | Unusable:
        """Return the text of a decoded answer, or why there is none."""
        ...

    def usage(self, data: Any) -> Usage:
        """Return the tokens that an answer reports."""
        ...

    def without(
        self, complaint: str, body: dict[str, Any], can: Capabilities
    ) -> Capabilities | None:
        """Return the capabilities without the one that the server's complaint is about."""
        ...

    async def open(self, timeout_s: float) -> None:
        """Connect within a running event loop."""
        ...

    async def post(self, body: dict[str, Any]) -> Any:
        """Send a request; returns the decoded answer, or raises `CallError`."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class ApiWriter:
    """A writer behind an API. Calls are retried as those of judges are.

    Args:
        model: Builds requests and reads answers.
        price: The model's price; None when it is unknown.
        timeout_s: Timeout of one call.
        say: Called with a line while the server does not answer.
    """

    def __init__(
        self,
        model: WriterModel,
        price: JudgePrice | None,
        timeout_s: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.name = model.name
        self.provider = model.provider
        self.address = model.address
        self.identity = f"{model.provider} {model.name} {model.address}"
        self.price = price
        self._model = model
        self._timeout_s = timeout_s
        self._say = say
        self._can = known_capabilities(model.provider, model.name) or Capabilities()
        self._is_seeded = True
        self._has_answered = False

    def ask(self, question: Question) -> Written:
        """Return the answer to a question.

        Raises:
            TraitvecError: If the key is wrong, the quota is gone, the server cannot be reached or
                refuses every form of the request.
        """
        return run_async(self._ask(question))

    def most_usd(self, question: Question) -> float:
        """Return the most that an answer can cost, in US dollars; 0 if the price is unknown."""
        return most_usd(
            self.price, f"{question.prompt}{question.schema}", self._most_tokens(question)
        )

    def _most_tokens(self, question: Question) -> int:
        return question.room + (_THINKING_TOKENS if self._can.thinks else 0)

    async def _ask(self, question: Question) -> Written:
        calls = Calls(
            AdaptiveLimit(1), self._timeout_s, self._model.server_name,
            self._model.address_setting, self._say, self._has_answered, role="writer",
            timeout_setting="judge_timeout_s",
        )  # fmt: skip
        await self._model.open(self._timeout_s)
        try:
            data = await self._answer(question, calls)
        except CallError as error:
            raise TraitvecError(
                f"writer {self.name!r}: {error.reason}; finished parts are kept, run the same"
                " command again or name another writer"
            ) from None
        finally:
            self._has_answered = calls.has_answered
            await self._model.close()
        usage = self._model.usage(data)
        return Written(self._model.read_draft(data), usage, self._usd(usage, question))

    async def _answer(self, question: Question, calls: Calls) -> Any:
        for _ in range(_MOST_CHANGES):
            can = self._can
            body = self._model.draft_request(
                question, can, self._most_tokens(question), is_seeded=self._is_seeded
            )

            async def once(body: dict[str, Any] = body, can: Capabilities = can) -> Any:
                try:
                    return await self._model.post(body)
                except CallError as error:
                    if self._leaves_out(error.complaint, body, can):
                        raise CallError("changed", error.reason) from None
                    raise

            try:
                return await calls.call(once)
            except CallError as error:
                if error.kind != "changed":
                    raise
        raise CallError("refused", "the server refuses every form of the request")

    def _leaves_out(self, complaint: str, body: dict[str, Any], can: Capabilities) -> bool:
        """Whether the next request leaves out what the server complains about."""
        if not complaint:
            return False
        if "seed" in body and "seed" in complaint.lower():
            self._is_seeded = False
            return True
        reduced = self._model.without(complaint, body, can)
        if reduced is None:
            return False
        self._can = reduced
        return True

    def _usd(self, usage: Usage, question: Question) -> float | None:
        if self.price is None:
            return None
        if not usage.tokens_out:
            # The server does not count, so the most that it can have cost is assumed.
            return self.most_usd(question)
        return self.price.usd(usage.tokens_in, usage.tokens_out, usage.cached)
