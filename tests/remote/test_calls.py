"""Many calls at once: never more than allowed, never stuck, patient, and not for ever."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.remote.failing_calls import attempts_of, fine
from traitvec_core.remote import calls
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls, StopError, for_each

# -- AdaptiveLimit --------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    bound=st.integers(1, 8),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    busy=st.sampled_from([0.0, 0.2, 0.9]),
    cancelled=st.sampled_from([0.0, 0.3]),
)
def test_no_more_than_the_bound_no_deadlock_and_no_place_is_lost(
    bound: int, n: int, seed: int, busy: float, cancelled: float
) -> None:
    dice = random.Random(seed)
    limit = AdaptiveLimit(bound)
    inside = 0

    async def call() -> None:
        nonlocal inside
        called_at = await limit.acquire()
        inside += 1
        try:
            assert inside == limit.in_flight <= bound
            assert 1 <= limit.width <= bound
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            if dice.random() < busy:
                limit.busy(called_at, dice.choice([None, 0.0005]))
            else:
                limit.succeeded()
        finally:
            inside -= 1
            limit.release()

    async def storm() -> None:
        tasks = [asyncio.create_task(call()) for _ in range(n)]
        doomed = [task for task in tasks if dice.random() < cancelled]
        for task in doomed:
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None for task, end in zip(tasks, ends, strict=True) if task not in doomed)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
        assert limit.in_flight == 0
        # All the places are still there.
        while limit.width < bound:
            limit.succeeded()
        async with asyncio.timeout(60):
            await asyncio.gather(*(limit.acquire() for _ in range(bound)))
        assert limit.in_flight == bound

    asyncio.run(storm())


def test_a_place_whose_waiter_is_cancelled_when_it_is_woken_goes_to_the_next() -> None:
    async def check() -> None:
        limit = AdaptiveLimit(1)
        await limit.acquire()
        first, second = (asyncio.create_task(limit.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        limit.release()
        # Woken, but it has not run yet.
        first.cancel()
        async with asyncio.timeout(60):
            await second
        assert first.cancelled()
        assert limit.in_flight == 1

    asyncio.run(check())


def test_a_busy_server_halves_the_width_once_for_each_round_of_calls() -> None:
    async def check() -> None:
        limit = AdaptiveLimit(16)
        first = [await limit.acquire() for _ in range(16)]
        for called_at in first:
            limit.busy(called_at, None)
            limit.release()
        assert limit.width == 8
        second = [await limit.acquire() for _ in range(8)]
        for called_at in second:
            limit.busy(called_at, None)
        # One that was under way all the while tells nothing new.
        limit.busy(first[0], None)
        assert limit.width == 4
        for _ in range(10):
            limit.busy(time.monotonic(), None)
        assert limit.width == 1

    asyncio.run(check())


@pytest.mark.parametrize("bound", [1, 2, 20, 100])
def test_the_width_climbs_by_one_a_round_up_to_the_bound(bound: int) -> None:
    limit = AdaptiveLimit(bound)
    limit.width = 1.0
    rounds = 0
    while limit.width < bound:
        before = limit.width
        for _ in range(int(before)):
            limit.succeeded()
        assert min(before + 0.5, bound) <= limit.width <= before + 1 + 1e-9
        rounds += 1
    assert limit.width == bound
    assert rounds <= 2 * bound
    limit.succeeded()
    assert limit.width == bound


def test_retry_after_holds_back_those_that_wait_and_those_that_come() -> None:
    async def check() -> None:
        limit = AdaptiveLimit(2)
        called_at = await limit.acquire()
        await limit.acquire()
        began = time.monotonic()
        waiting = [asyncio.create_task(limit.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        limit.busy(called_at, 0.05)
        # The longest counts, whichever comes last.
        limit.busy(called_at, 0.1)
        limit.busy(called_at, 0.02)
        limit.release()
        limit.release()
        late = asyncio.create_task(limit.acquire())
        given_at = []
        for task in asyncio.as_completed([*waiting, late]):
            given_at.append(await task)
            limit.release()
        assert min(given_at) >= began + 0.1
        assert max(given_at) < began + 0.6

    asyncio.run(check())


def test_after_a_busy_time_all_places_are_used_again() -> None:
    async def check() -> int:
        limit = AdaptiveLimit(8)
        together = Calls(limit, 5.0, "it")
        n_calls = inside = most = 0

        async def once() -> None:
            nonlocal n_calls, inside, most
            n_calls += 1
            inside += 1
            try:
                if n_calls > 300:
                    most = max(most, inside)
                await asyncio.sleep(0.001)
                if n_calls < 30:
                    raise CallError("busy", "busy (429)")
            finally:
                inside -= 1

        async def work(_: int) -> None:
            await together.call(once)

        narrowest = []
        real = limit.busy

        def busy(called_at: float, retry_after_s: float | None) -> None:
            real(called_at, retry_after_s)
            narrowest.append(limit.width)

        limit.busy = busy  # type: ignore[method-assign]
        await for_each(range(500), work, 8)
        assert min(narrowest) < 4
        return most

    assert asyncio.run(check()) == 8


# ---------------------------------------------------------------------------- Calls


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [("again", 9), ("busy", 9), ("refused", 1), ("changed", 1), ("final", 1)],
)
def test_only_what_may_pass_is_tried_again(kind: calls.Kind, attempts: int) -> None:
    error = CallError(kind, "the reason")
    assert attempts_of(error) == (attempts, error)


def test_the_last_reason_is_told() -> None:
    reasons = iter("abcdefghi")

    async def once() -> None:
        raise CallError("again", next(reasons))

    with pytest.raises(CallError, match="i"):
        asyncio.run(Calls(AdaptiveLimit(1), 5.0, "it").call(once))


def test_stop_stops_at_once() -> None:
    n, error = attempts_of(CallError("stop", "no credit left"))
    assert (n, type(error), str(error)) == (1, StopError, "no credit left")


def test_a_call_that_succeeds_in_the_end_returns_what_it_got() -> None:
    kinds: list[calls.Kind] = ["again", "busy", "unreachable", "again", "busy"]

    async def once() -> int:
        if kinds:
            raise CallError(kinds.pop(), "not yet")
        return 7

    assert asyncio.run(Calls(AdaptiveLimit(1), 5.0, "it").call(once)) == 7


@pytest.mark.parametrize("kind", ["refused", "again"])
def test_twenty_failures_in_a_row_stop_the_run(
    kind: calls.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.0)
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org")
    error = CallError(kind, "refused (400: odd)")
    for _ in range(19):
        assert isinstance(attempts_of(error, calls_)[1], CallError)
    # One that goes well between them, and they are in a row no more.
    asyncio.run(calls_.call(fine))
    for _ in range(19):
        assert isinstance(attempts_of(error, calls_)[1], CallError)
    _, stopped = attempts_of(error, calls_)
    assert isinstance(stopped, StopError)
    assert str(stopped) == (
        "20 calls to example.org failed in a row, the last with: refused (400: odd)."
        " Finished work is kept; run again to continue"
    )


def test_what_is_about_single_prompts_never_stops_the_run() -> None:
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org")
    for _ in range(50):
        assert isinstance(attempts_of(CallError("final", "filter"), calls_)[1], CallError)


def test_a_server_that_never_answered_is_given_up_sooner_than_one_that_did() -> None:
    error = CallError("unreachable", "ConnectError")
    n, stopped = attempts_of(error)
    assert (n, type(stopped)) == (4, StopError)
    assert str(stopped) == (
        "example.org cannot be reached (ConnectError); check the address and the network, then"
        " run again"
    )
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org")
    asyncio.run(calls_.call(fine))
    n, stopped = attempts_of(error, calls_)
    assert n >= 9
    assert type(stopped) is calls.ServerGoneError


def test_a_server_that_answered_in_an_earlier_round_is_waited_for() -> None:
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org", has_answered=True)
    n, stopped = attempts_of(CallError("unreachable", "no connection"), calls_)
    assert n >= 9
    assert type(stopped) is calls.ServerGoneError


def test_an_outage_is_said_once_and_again_when_it_repeats() -> None:
    said: list[str] = []
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org", say=said.append, has_answered=True)

    async def outage() -> None:
        n_left = [3] * 5

        async def once(number: int) -> None:
            n_left[number] -= 1
            if n_left[number] >= 0:
                raise CallError("unreachable", "connection refused")

        async def work(number: int) -> None:
            await calls_.call(lambda: once(number))

        await for_each(range(5), work, 5)

    asyncio.run(outage())
    n_first = len(said)
    asyncio.run(outage())
    # Five calls wait in each; one that returns late may begin a second outage.
    assert 1 <= n_first <= 5
    assert n_first < len(said)
    assert all("example.org does not answer (connection refused)" in line for line in said)


def test_the_end_of_an_outage_names_the_setting_and_what_came_first() -> None:
    failures = [CallError("again", "server error (500)")]
    calls_ = Calls(AdaptiveLimit(4), 5.0, "http://here/v1", "engine_url", has_answered=True)

    async def once() -> None:
        raise failures.pop() if failures else CallError("unreachable", "connection refused")

    with pytest.raises(StopError) as stopped:
        asyncio.run(calls_.call(once))
    message = str(stopped.value)
    for part in ("http://here/v1 is gone", "after: server error (500)", "connection refused",
                 "Finished work is kept", "engine_url"):  # fmt: skip
        assert part in message


def test_an_outage_that_is_over_leaves_all_attempts_for_what_follows() -> None:
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org", has_answered=True)
    away, broken = CallError("unreachable", "refused"), CallError("again", "server error (500)")
    failures = [away] * 6 + [broken] * 8

    async def once() -> str:
        if failures:
            raise failures.pop(0)
        return "fine"

    assert asyncio.run(calls_.call(once)) == "fine"


def test_connections_that_break_are_no_outage_of_a_server_that_answers() -> None:
    calls_ = Calls(AdaptiveLimit(4), 5.0, "example.org", has_answered=True)
    error = CallError("lost", "connection closed")
    assert attempts_of(error, calls_) == (9, error)


def test_every_attempt_has_the_same_deadline_and_gives_its_place_back() -> None:
    n = 0

    async def once() -> None:
        nonlocal n
        n += 1
        await asyncio.sleep(60)

    calls_ = Calls(AdaptiveLimit(1), 0.03, "it")
    with pytest.raises(CallError, match=r"^no answer within 0\.03 s$") as raised:
        asyncio.run(calls_.call(once))
    assert n == 9
    assert raised.value.kind == "slow"
    assert calls_.limit.in_flight == 0


def test_waiting_for_a_place_is_no_part_of_the_deadline() -> None:
    async def check() -> None:
        limit = AdaptiveLimit(1)
        await limit.acquire()
        waiting = asyncio.create_task(Calls(limit, 0.02, "it").call(fine))
        # Longer than the deadline.
        await asyncio.sleep(0.1)
        limit.release()
        assert await waiting == "fine"

    asyncio.run(check())


def test_who_waits_to_try_again_leaves_the_place_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.4)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.4)
    order = []

    async def unlucky() -> None:
        order.append("unlucky")
        if len(order) == 1:
            raise CallError("again", "bad luck")

    async def lucky() -> None:
        order.append("lucky")

    async def check() -> None:
        calls_ = Calls(AdaptiveLimit(1), 5.0, "it")
        await asyncio.gather(calls_.call(unlucky), *(calls_.call(lucky) for _ in range(5)))

    asyncio.run(check())
    assert order == ["unlucky", *["lucky"] * 5, "unlucky"]


def test_a_mistake_of_ours_is_not_tried_again() -> None:
    n = 0

    async def once() -> None:
        nonlocal n
        n += 1
        raise KeyError("a mistake")

    calls_ = Calls(AdaptiveLimit(1), 5.0, "it")
    with pytest.raises(KeyError):
        asyncio.run(calls_.call(once))
    assert (n, calls_.limit.in_flight) == (1, 0)


def test_a_cancelled_call_gives_its_place_back() -> None:
    async def check() -> None:
        calls_ = Calls(AdaptiveLimit(1), 60.0, "it")
        has_begun = asyncio.Event()

        async def endless() -> None:
            has_begun.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(calls_.call(endless))
        await has_begun.wait()
        assert calls_.limit.in_flight == 1
        task.cancel()
        async with asyncio.timeout(60):
            assert await calls_.call(fine) == "fine"

    asyncio.run(check())


def test_the_waits_double_up_to_a_limit_and_keep_the_servers_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.5)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 5.0)

    def waits(attempt: int, asked: float | None = None) -> list[float]:
        error = CallError("busy", "busy", retry_after_s=asked)
        return [calls.wait_before_retry_s(error, attempt) for _ in range(200)]

    for attempt, longest in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (6, 5.0)]:
        assert longest / 2 <= min(waits(attempt)) < max(waits(attempt)) <= longest
        # Not all at the same moment.
        assert len(set(waits(attempt))) > 100
    assert 12 <= min(waits(1, 12.0)) < max(waits(1, 12.0)) <= 12.25
    assert max(waits(1, 0.0)) <= 0.25
    # Words that no server in order says.
    for nonsense in (3600.0, -1.0, float("nan"), float("inf")):
        assert max(waits(1, nonsense)) <= 0.5


def test_the_servers_word_holds_for_the_call_that_got_it_and_for_all_others() -> None:
    called_at: list[tuple[str, float]] = []

    async def check() -> None:
        calls_ = Calls(AdaptiveLimit(2), 5.0, "it")
        is_refused = asyncio.Event()

        def once(name: str) -> Callable[[], Awaitable[None]]:
            async def attempt() -> None:
                called_at.append((name, time.monotonic()))
                if len(called_at) == 1:
                    is_refused.set()
                    raise CallError("busy", "busy (429)", retry_after_s=0.15)

            return attempt

        first = asyncio.create_task(calls_.call(once("first")))
        await is_refused.wait()
        await asyncio.gather(first, calls_.call(once("second")))

    asyncio.run(check())
    assert Counter(name for name, _ in called_at) == {"first": 2, "second": 1}
    refused_at = called_at[0][1]
    assert all(at >= refused_at + 0.15 for _, at in called_at[1:])


# ---------------------------------------------------------------------------- for_each


@given(n=st.integers(0, 60), workers=st.integers(1, 12), seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_every_item_is_done_once_by_so_many_at_a_time(n: int, workers: int, seed: int) -> None:
    dice = random.Random(seed)
    done: Counter[int] = Counter()
    inside = 0

    async def work(item: int) -> None:
        nonlocal inside
        inside += 1
        assert inside <= workers
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        done[item] += 1
        inside -= 1

    asyncio.run(for_each(range(n), work, workers))
    assert done == Counter(range(n))


def test_the_first_exception_ends_it_all_and_comes_bare() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise StopError("no credit left")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(StopError, match="no credit left") as raised:
        asyncio.run(for_each(range(100), work, 4))
    assert begun == [0, 1, 2, 3]
    assert sorted(cancelled) == [0, 1, 2]
    # Nothing of the machinery in the message: the caller shows one line.
    assert raised.value.__suppress_context__


def test_of_several_exceptions_one_is_told() -> None:
    async def work(item: int) -> None:
        await asyncio.sleep(0.05)
        raise StopError(f"worker {item}")

    with pytest.raises(StopError, match=r"worker \d"):
        asyncio.run(for_each(range(4), work, 4))


def test_who_cancels_it_gets_a_cancellation() -> None:
    async def check() -> None:
        task = asyncio.create_task(for_each([1, 2], lambda _: asyncio.sleep(60), 2))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(check())
