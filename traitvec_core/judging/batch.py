"""Judging in batches: half the price, answered within a day.

The store records a batch before it is submitted and until its results are kept. A run that was
killed, or another run that needs the same judgements, waits for it and pays for nothing twice.
"""

import asyncio
import hashlib
import json
import os
import platform
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from traitvec_core.judging.api import ApiJudge
from traitvec_core.judging.asking import BatchResult, BatchState, Learned, RefusedError, Spent
from traitvec_core.judging.judgement_store import Batch, Origin, judgement_key
from traitvec_core.judging.reading import ANSWERED_REFUSAL, Judgement, UnusableAnswerError
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls, ServerGoneError, StopError
from traitvec_core.storage.processes import is_alive, process_start

__all__ = ["BatchModel", "Batches"]

_T = TypeVar("_T")
# Below the limits of both providers.
MOST_REQUESTS = 50_000
MOST_BYTES = 150_000_000
# Rounds in which expired requests are submitted again; the rest become single requests.
_ROUNDS = 3
# An upload takes longer than a call.
_TIMEOUT_S = 600.0
_LONGEST_POLL_S = 60.0
_SAY_EVERY_S = 600.0
# Failed polls in a row, each with all its retries: more than a quarter of an hour.
_MOST_POLL_FAILURES = 15
# Pause while another run is about to submit a batch.
_SUBMITTING_POLL_S = 0.5
# Intents of the batches that this process is about to submit.
_submitting: set[str] = set()


class BatchModel(Protocol):
    """A model whose provider accepts batches."""

    async def submit(self, requests: Mapping[str, dict[str, Any]], intent: str) -> str:
        """Submit request bodies by key; returns the provider's id of the batch."""
        ...

    async def find(self, intent: str) -> str | None:
        """Return the provider's id of a batch by our name for it; None if there is none."""
        ...

    async def poll(self, id_: str) -> BatchState:
        """Return how far a batch is."""
        ...

    async def results(self, id_: str) -> list[BatchResult]:
        """Return the results of a batch that has ended."""
        ...


class Batches:
    """Submits prompts to a provider in batches.

    Args:
        say: Called with a line about the progress.
        poll_s: First pause between two polls; the pauses grow to a minute.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None, poll_s: float = 5.0) -> None:
        self._say = say
        self._poll_s = poll_s

    async def score(
        self,
        judge: ApiJudge,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int,
    ) -> None:
        """Judge prompts; those whose answers have no score are left for single requests."""
        work = _Work(judge, on_batch, is_known, repeat, self._say, self._poll_s)
        for _ in range(_ROUNDS):
            # The judgements of batches that were lost are submitted again.
            missing = {
                work.key(p): p
                for p in prompts
                if not is_known(p) and p not in work.for_single_requests
            }
            if not missing:
                return
            batches = await work.submitted_elsewhere(missing)
            for part in await work.parts(_uncovered(missing, batches)):
                batches += await work.submit(part)
            if not batches:
                break
            await asyncio.gather(*(work.fetch(batch, missing) for batch in batches))
        # What exceeds the budget at half the price must not be sent at the full price.
        if judge.budget is not None:
            spent = Judgement(None, "error", judge.budget.reason, is_final=False)
            on_batch({prompt: spent for prompt in work.unpaid if not is_known(prompt)})


class _Work:
    def __init__(
        self,
        judge: ApiJudge,
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int,
        say: Callable[[str], None],
        poll_s: float,
    ) -> None:
        self.judge = judge
        self.model: Any = judge.model
        # Answered without a score: left for single requests.
        self.for_single_requests: set[str] = set()
        # Did not fit the budget in the last round.
        self.unpaid: list[str] = []
        self._reserved_usd: dict[str, float] = {}
        self._on_batch = on_batch
        self._is_known = is_known
        self._repeat = repeat
        self._say = say
        self._poll_s = poll_s
        self._origin = Origin(judge.experiment)
        self._calls = Calls(
            AdaptiveLimit(4), _TIMEOUT_S, judge.model.server_name, judge.model.address_setting, say,
            role="judge",
        )  # fmt: skip

    def key(self, prompt: str) -> str:
        return judgement_key(self.judge.identity, prompt, self._repeat)

    async def submitted_elsewhere(self, missing: Mapping[str, str]) -> list[Batch]:
        """Return the batches that another run has submitted for the same judgements."""
        batches = []
        for batch in await self._submitted(missing):
            id_ = batch.id or await self._call(partial(self.model.find, batch.intent))
            if id_ is None:
                # The process died between recording and submitting it.
                self.judge.store.close_batch(batch.intent)
                continue
            self.judge.store.name_batch(batch.intent, id_)
            batches.append(Batch(batch.intent, id_, batch.keys))
            self._say(f"batch {id_}: submitted earlier, {len(batch.keys)} judgements")
        return batches

    async def _submitted(self, missing: Mapping[str, str]) -> list[Batch]:
        while True:
            open_ = self.judge.store.open_batches(self.judge.identity)
            batches = [batch for batch in open_ if batch.keys & missing.keys()]
            if not any(batch.id is None and _is_being_submitted(batch.intent) for batch in batches):
                return batches
            await asyncio.sleep(_SUBMITTING_POLL_S)

    async def parts(self, missing: Mapping[str, str]) -> list[dict[str, str]]:
        """Return prompts by key, in parts within the provider's limits and the budget."""
        parts: list[dict[str, str]] = [{}]
        self.unpaid = []
        size = 0
        budget, price = self.judge.budget, self.judge.price
        for key, prompt in missing.items():
            usd = self.judge.most_usd(prompt) * (price.batch if price else 1.0)
            if budget is not None and not await budget.reserve(usd, waits=False):
                self.unpaid.append(prompt)
                continue
            self._reserved_usd[key] = usd
            # As JSON escapes it: up to six bytes per non-ASCII character.
            length = len(json.dumps(prompt)) + 1000
            if len(parts[-1]) >= MOST_REQUESTS or size + length > MOST_BYTES:
                parts.append({})
                size = 0
            parts[-1][key] = prompt
            size += length
        return [part for part in parts if part]

    async def submit(self, part: Mapping[str, str]) -> list[Batch]:
        """Submit a part; returns the batches to wait for, which may be another run's."""
        intent = f"{_host()}.{os.getpid()}.{_start_of(os.getpid())}-{secrets.token_hex(12)}"
        _submitting.add(intent)
        batches: list[Batch] = []
        try:
            while True:
                self.judge.store.open_batch(intent, self.judge.identity, list(part))
                open_ = self.judge.store.open_batches(self.judge.identity)
                if not any(b.keys & part.keys() for b in open_ if b.intent != intent):
                    # Another run may have finished some while this one waited.
                    known = {key for key, prompt in part.items() if self._is_known(prompt)}
                    await self._release(known)
                    part = {key: prompt for key, prompt in part.items() if key not in known}
                    if part:
                        return [*batches, await self._submit(part, intent)]
                    self.judge.store.close_batch(intent)
                    return batches
                # Another run has recorded a batch too: both withdraw, and the first to return wins.
                self.judge.store.close_batch(intent)
                await asyncio.sleep(random.uniform(0, _SUBMITTING_POLL_S))  # noqa: S311
                batches += await self.submitted_elsewhere(dict(part))
                part = _uncovered(part, batches)
                if not part:
                    return batches
        finally:
            _submitting.discard(intent)

    async def _submit(self, part: Mapping[str, str], intent: str) -> Batch:
        requests = {
            key: self.judge.model.request(prompt, self.judge.can, 0) for key, prompt in part.items()
        }
        attempts = 0

        async def once() -> str:
            nonlocal attempts
            attempts += 1
            # The last attempt may have succeeded although its answer was lost.
            earlier = await self.model.find(intent) if attempts > 1 else None
            return str(earlier or await self.model.submit(requests, intent))

        # If this fails the intent stays, and the next run checks whether it was submitted.
        id_ = await self._call(once)
        self.judge.store.name_batch(intent, id_)
        self._say(f"batch {id_}: submitted, {len(part)} judgements; it may take up to a day, and a"
                  " stopped run continues with it when started again")  # fmt: skip
        return Batch(intent, id_, frozenset(part))

    async def fetch(self, batch: Batch, missing: Mapping[str, str]) -> None:
        id_ = str(batch.id)
        pause_s = self._poll_s
        state = await self._call(lambda: self.model.poll(id_))
        n_said, said_at, failures = -1, time.monotonic(), 0
        while not state.is_ended:
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * 1.5)
            try:
                state = await self._calls.call(lambda: self.model.poll(id_))
            except (CallError, ServerGoneError) as error:
                # A server may be down for a while within a day; the batch continues regardless.
                failures += 1
                is_refused = isinstance(error, CallError) and error.kind == "refused"
                if is_refused or failures >= _MOST_POLL_FAILURES:
                    raise StopError(
                        f"batch {id_} cannot be polled ({error}); run again to wait for it"
                    ) from None
                continue
            failures = 0
            # Say what is new, and every ten minutes that it is still running.
            if state.done != n_said or time.monotonic() - said_at > _SAY_EVERY_S:
                n_said, said_at = state.done, time.monotonic()
                self._say(f"batch {id_}: {n_said} of {len(batch.keys)} answered")
        if state.is_gone:
            self._say(f"batch {id_}: the provider has no such batch, or not for this key")
            self.judge.store.close_batch(batch.intent)
            await self._release(batch.keys)
            return
        results = await self._call(lambda: self.model.results(id_))
        # Another run may have recorded the results: their cost is recorded once.
        open_ = self.judge.store.open_batches(self.judge.identity)
        is_kept = all(other.intent != batch.intent for other in open_)
        for result in results:
            if result.key in batch.keys:
                await self._keep(result, missing.get(result.key), is_kept)
        self.judge.store.close_batch(batch.intent)
        await self._release(batch.keys)
        if state.failure:
            raise StopError(
                f"batch {id_} failed: {state.failure}; its answers are kept. Run again to submit"
                " the rest, or set judge_mode: live"
            )

    async def _release(self, keys: Iterable[str]) -> None:
        """Release the reservations of requests without a result."""
        for key in keys:
            reserved = self._reserved_usd.pop(key, None)
            if self.judge.budget is not None and reserved is not None:
                await self.judge.budget.settle(reserved, 0.0)

    async def _keep(self, result: BatchResult, prompt: str | None, is_kept: bool) -> None:
        judgement = await self._read(result, prompt or "")
        self._write(result, prompt, judgement, is_kept)
        await self._release([result.key])
        if self.judge.budget is not None:
            self.judge.budget.kept(judgement.usd or 0.0)

    def _write(
        self, result: BatchResult, prompt: str | None, judgement: Judgement, is_kept: bool
    ) -> None:
        if result.is_expired or (prompt is not None and self._is_known(prompt)):
            return
        if prompt is not None and judgement.is_final:
            self._on_batch({prompt: judgement})
            return
        if prompt is not None:
            self.for_single_requests.add(prompt)
        if is_kept or self.judge.store.find(result.key) is not None:
            return
        # Record the cost of an answer without a score, or of a judgement for an earlier run.
        self.judge.store.keep([(result.key, "", "", judgement)], self.judge.identity, self._origin)

    async def _read(self, result: BatchResult, prompt: str) -> Judgement:
        price = self.judge.price
        spent = Spent(price, price.batch if price else 1.0)
        if result.data is None:
            return spent.judgement(None, "error", "failed in a batch", is_final=False)
        spent.add(self.judge.model.usage(result.data))
        try:
            score = await self.judge.model.read(result.data, prompt, self.judge.can, None)
        except RefusedError as error:
            return spent.judgement(None, "refusal", str(error))
        except (UnusableAnswerError, Learned, CallError) as error:
            return spent.judgement(None, "unparseable", str(error), is_final=False)
        if score == "REFUSAL":
            return spent.judgement(None, "refusal", ANSWERED_REFUSAL)
        return spent.judgement(score, "ok")

    async def _call(self, once: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await self._calls.call(once)
        except CallError as error:
            raise StopError(f"{self.judge.model.server_name}: {error.reason}") from None


def _uncovered(part: Mapping[str, str], batches: Sequence[Batch]) -> dict[str, str]:
    covered = {key for batch in batches for key in batch.keys}
    return {key: prompt for key, prompt in part.items() if key not in covered}


def _host() -> str:
    """Return a hash of this machine's name, which providers must not see."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]


def _is_being_submitted(intent: str) -> bool:
    """Whether a running process is about to submit the batch of this intent."""
    owner, _, token = intent.rpartition(".")
    host, _, number = owner.rpartition(".")
    if host != _host() or not number.isdigit():
        return False
    pid = int(number)
    if pid == os.getpid():
        return intent in _submitting
    # Another process may have the number by now.
    start, has_start, _ = token.partition("-")
    return is_alive(pid, None) and (not has_start or start == _start_of(pid))


def _start_of(pid: int) -> str:
    """Return a hash of when a process started, in the machine's own ticks."""
    return hashlib.sha256((process_start(pid) or "").encode()).hexdigest()[:8]
