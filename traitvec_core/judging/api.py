"""A judge behind an API: every prompt gets a score or the reason why it has none."""

import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache
from typing import Any, Protocol

from traitvec_core.experiment import JudgePrice
from traitvec_core.judging.asking import ApiModel, Learned, RefusedError, Score, Spent
from traitvec_core.judging.budget import Budget, most_usd
from traitvec_core.judging.capabilities import Capabilities
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.judging.providers.table import known_capabilities
from traitvec_core.judging.reading import (
    ANSWERED_REFUSAL,
    Judgement,
    UnusableAnswerError,
)
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls, StopError, for_each
from traitvec_core.remote.run_async import run_async
from traitvec_core.remote.sdk_errors import clipped

__all__ = ["ApiJudge"]

# Attempts to get an answer with a score.
_ATTEMPTS_TO_READ = 3
# Unusable answers of a judge that has given no other since the run began; then it is given up.
_STOP_AFTER_UNUSABLE = 20
# Raise when requests or the reading of answers change: all judgements are then asked for again.
_VERSION = 1
# Capabilities that one request may turn out to lack, one after the other.
_MOST_CHANGES = 8
# Prompts that are sent one at a time to find out what an unknown model accepts.
_MOST_PROBES = 5


class _BudgetSpentError(Exception):
    """The next call does not fit into the budget."""


class PromptBatches(Protocol):
    """Submits prompts in batches; implemented by `judging.batch.Batches`."""

    async def score(
        self,
        judge: "ApiJudge",
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int,
    ) -> None:
        """Judge prompts; those whose answers have no score are left for single requests."""
        ...


class _Unusable:
    """Counts unusable answers until there is another one."""

    def __init__(self, judge: str) -> None:
        self._judge = judge
        self._n = 0
        self._last = ""
        self._is_over = False

    def count(self, reason: str) -> None:
        self._n += 1
        self._last = reason

    def end(self) -> None:
        self._is_over = True

    @property
    def are_too_many(self) -> bool:
        return not self._is_over and self._n >= _STOP_AFTER_UNUSABLE

    def stop_if_too_many(self) -> None:
        if self.are_too_many:
            raise StopError(
                f"judge {self._judge!r} has given {self._n} unusable answers and no score; the last"
                f" {clipped(self._last, 100)}. Change judge_model or the rubric's end, then run"
                " again; finished work is kept"
            )


class ApiJudge:
    """Scores prompts with a model behind an API.

    Args:
        model: Builds requests and reads answers.
        store: Remembers what the model accepts.
        max_concurrent: Most concurrent calls.
        timeout_s: Timeout of one call.
        price: The model's price; None when it is unknown.
        budget: Limits the cost; None for no limit.
        batches: Submits prompts in batches; None sends one request per prompt.
        experiment: The experiment that pays.
        say: Called with a line when the server stops answering.
        preflight: Called with this judge before the first prompt that has no judgement; see
            `judging.preflight`.
    """

    def __init__(
        self,
        model: ApiModel,
        store: JudgementStore,
        *,
        max_concurrent: int = 20,
        timeout_s: float = 60.0,
        price: JudgePrice | None = None,
        budget: Budget | None = None,
        batches: "PromptBatches | None" = None,
        experiment: str = "",
        say: Callable[[str], None] = lambda text: None,
        preflight: Callable[["ApiJudge"], None] | None = None,
    ) -> None:
        self._say = say
        self._preflight = preflight
        self._unusable = _Unusable(model.name)
        self._has_answered = False
        self.name = model.name
        self.experiment = experiment
        self.model = model
        self.price = price
        self.store = store
        self.budget = budget
        self.batches = batches
        self.max_concurrent = max_concurrent
        self.timeout_s = timeout_s
        learned = store.learned(model.address, model.name)
        known = known_capabilities(model.provider, model.name)
        self._is_known = learned is not None or known is not None
        self.can = Capabilities(**learned) if learned else known or Capabilities()

    @property
    def identity(self) -> str:
        """All that determines a judgement besides the prompt."""
        return _identity(self.model.provider, self.name, self.model.address, self.can.scoring)

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool] = lambda prompt: False,
        repeat: int = 0,
    ) -> None:
        """Judge distinct prompts; see `Judge`.

        Raises:
            StopError: If the key is wrong, the quota is gone, the server cannot be reached, or its
                answers are unusable.
        """
        missing = [prompt for prompt in prompts if not is_known(prompt)]
        if missing:
            self.check_first()
            run_async(self._score(missing, on_batch, is_known, repeat))

    def check_first(self) -> None:
        """Run the preflight, unless it has passed. It never waits for a batch.

        Raises:
            TraitvecError: If the judge does not pass.
        """
        preflight, batches = self._preflight, self.batches
        if preflight is None:
            return
        self._preflight = self.batches = None
        try:
            preflight(self)
        except BaseException:
            self._preflight = preflight
            raise
        finally:
            self.batches = batches
        # What it answered there says nothing about the trait's rubric.
        self._unusable = _Unusable(self.name)

    async def _score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int,
    ) -> None:
        calls = Calls(
            AdaptiveLimit(self.max_concurrent), self.timeout_s, self.model.server_name,
            self.model.address_setting, self._say, self._has_answered, role="judge",
            timeout_setting="judge_timeout_s",
        )  # fmt: skip

        async def judge(prompt: str) -> None:
            # Another run may have judged it in the meantime.
            if not self._unusable.are_too_many and not is_known(prompt):
                judgement = await self._judge(prompt, calls)
                on_batch({prompt: judgement})
                if self.budget is not None:
                    self.budget.kept(judgement.usd or 0.0)

        if self.budget is not None:
            self.budget.begin()
        await self.model.open(self.timeout_s)
        try:
            for prompt in prompts[:_MOST_PROBES]:
                if self._is_known:
                    break
                # One call at a time finds out what the model accepts; fifty would all be refused.
                await judge(prompt)
            self._unusable.stop_if_too_many()
            if self.batches is not None:
                await self.batches.score(self, prompts, on_batch, is_known, repeat)
            remaining = [prompt for prompt in prompts if not is_known(prompt)]
            # In random order: two concurrent runs over the same prompts would otherwise ask for
            # each at the same moment, and pay for it twice.
            random.shuffle(remaining)
            await for_each(remaining, judge, self.max_concurrent)
            # Calls in progress end first, so that what they cost is recorded.
            self._unusable.stop_if_too_many()
        finally:
            self._has_answered = calls.has_answered
            await self.model.close()

    async def _judge(self, prompt: str, calls: Calls) -> Judgement:
        spent = Spent(self.price)
        room = 0
        reason = ""
        for _ in range(_ATTEMPTS_TO_READ):
            try:
                score = await self._ask_and_read(prompt, room, calls, spent)
            except UnusableAnswerError as error:
                reason = str(error)
                room += error.is_truncated
                self._unusable.count(reason)
                if self._unusable.are_too_many:
                    break
            except RefusedError as error:
                self._unusable.end()
                return spent.judgement(None, "refusal", str(error))
            except CallError as error:
                if room and error.is_too_long:
                    # The prompt fits; it does not with four times the room for an answer.
                    break
                return spent.judgement(None, "error", error.reason, error.kind == "final")
            except _BudgetSpentError as error:
                return spent.judgement(None, "error", str(error), is_final=False)
            else:
                self._unusable.end()
                if score == "REFUSAL":
                    return spent.judgement(None, "refusal", ANSWERED_REFUSAL)
                return spent.judgement(score, "ok")
        # A judge may answer nonsense for a while; the store counts the runs.
        return spent.judgement(None, "unparseable", reason, is_final=False)

    async def _ask_and_read(self, prompt: str, room: int, calls: Calls, spent: "Spent") -> Score:
        for _ in range(_MOST_CHANGES):
            can = self.can

            async def ask(body: dict[str, Any], can: Capabilities = can) -> Any:
                async def once() -> Any:
                    try:
                        return await self.model.post(body)
                    except CallError as error:
                        raise self._without_refused_option(error, body, can) from None

                async with self._paid_for(body, prompt, can, spent):
                    data = await calls.call(once)
                    spent.add(self.model.usage(data))
                return data

            try:
                data = await ask(self.model.request(prompt, can, room))
                score = await self.model.read(data, prompt, can, ask)
            except Learned as better:
                self._change(can, better.capabilities)
            except CallError as error:
                if error.kind != "changed":
                    raise
            except (UnusableAnswerError, RefusedError):
                self._remember(can)
                raise
            else:
                self._remember(can)
                return score
        raise CallError("refused", "the server refuses every form of the request")

    @asynccontextmanager
    async def _paid_for(
        self, body: dict[str, Any], prompt: str, can: Capabilities, spent: "Spent"
    ) -> AsyncIterator[None]:
        if self.budget is None:
            yield
            return
        reserved = most_usd(self.price, prompt, body[can.limit_name])
        if not await self.budget.reserve(reserved):
            raise _BudgetSpentError(self.budget.reason)
        before = spent.usd or 0.0
        try:
            yield
        finally:
            await self.budget.settle(reserved, (spent.usd or 0.0) - before)

    def _without_refused_option(
        self, error: CallError, body: dict[str, Any], can: Capabilities
    ) -> CallError:
        if not error.complaint:
            return error
        reduced = self.model.without(error.complaint, body, can)
        if reduced is None:
            return error
        self._change(can, reduced)
        return CallError("changed", error.reason)

    def _change(self, assumed: Capabilities, better: Capabilities) -> None:
        # Another call may have learned it first.
        if self.can == assumed:
            self.can = better
            self._is_known = False

    def _remember(self, can: Capabilities) -> None:
        if not self._is_known and can == self.can:
            self.store.learn(self.model.address, self.name, asdict(can))
            self._is_known = True

    def most_usd(self, prompt: str) -> float:
        """Return the most that one call can cost; 0 when the price is not known."""
        return most_usd(self.price, prompt, self.model.most_tokens_out(self.can))


@cache
def _identity(provider: str, model: str, server: str, scoring: str) -> str:
    return json.dumps(
        {
            "provider": provider,
            "model": model,
            "server": server,
            "scoring": scoring,
            "version": _VERSION,
        }
    )
