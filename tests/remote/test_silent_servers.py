"""Servers that do not answer: named within a minute, and never waited for in silence."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

import pytest

from tests.remote.failing_calls import attempts_of, fine
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.remote import calls, waiting
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls, StopError, for_each

# ---------------------------------------------------------------------------- a silent server


async def silent() -> None:
    await asyncio.sleep(3600)


def stopped(together: Calls, once: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(StopError) as error:
        asyncio.run(together.call(once))
    assert together.limit.in_flight == 0
    return str(error.value)


def failing(kind: calls.Kind, **options: float) -> Callable[[], Awaitable[object]]:
    async def once() -> None:
        raise CallError(kind, "server error (502)", **options)  # type: ignore[arg-type]

    return once


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> float:
    """In place of a minute."""
    monkeypatch.setattr(calls, "REACHED_WITHIN_S", 0.3)
    return 0.3


def test_a_minute_is_the_timeout_of_a_judges_call() -> None:
    # So that a server that says nothing at all is named when the first call has timed out.
    assert calls.REACHED_WITHIN_S == ExperimentSettings(model="x").judge_timeout_s == 60


def test_a_server_that_says_nothing_is_given_up_after_the_first_call(soon: float) -> None:
    together = Calls(
        AdaptiveLimit(4), soon, "example.org", "judge_base_url", role="judge",
        timeout_setting="judge_timeout_s",
    )  # fmt: skip
    assert stopped(together, silent) == (
        "example.org gave no answer in 0 s (no answer within 0.3 s); check judge_base_url and the"
        " judge, or raise judge_timeout_s, then run again"
    )


@pytest.mark.parametrize("kind", ["again", "lost", "slow"])
def test_a_server_that_never_answers_is_given_up_however_it_fails(
    soon: float, kind: calls.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first wait alone is longer.
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 20.0)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 20.0)
    together = Calls(AdaptiveLimit(4), 5.0, "example.org")
    text = stopped(together, failing(kind))
    assert "example.org gave no answer in" in text
    assert "server error (502)" in text


@pytest.mark.slow
def test_a_server_that_says_that_it_is_busy_is_there(soon: float) -> None:
    n, error = attempts_of(CallError("busy", "busy (503)", retry_after_s=0.05))
    assert (n, type(error)) == (9, CallError)
    n, error = attempts_of(CallError("again", "server error (500)", retry_after_s=0.05))
    assert (n, type(error)) == (9, CallError)


def test_after_an_answer_patience_is_long(soon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)
    together = Calls(AdaptiveLimit(4), 5.0, "example.org")
    asyncio.run(together.call(fine))
    n, error = attempts_of(CallError("again", "server error (502)"), together)
    assert (n, type(error)) == (9, CallError)


# ---------------------------------------------------------------------------- lines about waiting


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_LINE_S", 0.05)
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.02)


def said_by(once: Callable[[], Awaitable[object]], timeout_s: float = 1.0) -> list[str]:
    said: list[str] = []
    together = Calls(
        AdaptiveLimit(8), timeout_s, "example.org", say=said.append, has_answered=True,
        role="judge",
    )  # fmt: skip

    async def work(_: int) -> None:
        with contextlib.suppress(CallError):
            await together.call(once)

    asyncio.run(for_each(range(8), work, 8))
    return said


def test_attempts_and_waits_are_said(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)
    said = said_by(failing("again"))
    assert said
    pattern = (
        r"waiting for the judge \(example\.org\), attempt \d, next in \d s \(server error \(502\)\)"
    )
    assert all(re.fullmatch(pattern, line) for line in said)
    # Each line after twice the time before, for all calls together: not one per attempt.
    assert len(said) <= 6


def test_a_busy_server_and_its_next_attempt_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_BUSY_LINE_S", 0.05)
    monkeypatch.setattr(waiting, "BUSY_GAP_S", 0.05)
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.4)

    async def busy() -> None:
        raise CallError("busy", "busy (429)")

    said = said_by(busy)
    pattern = r"the judge \(example\.org\) is busy \(429\), next try in \d s, attempt (\d) of 9"
    matches = [re.fullmatch(pattern, line) for line in said]
    numbers = [int(match[1]) for match in matches if match]
    assert len(numbers) == len(said)
    # From the first seconds to the last attempt, for eight calls together: not one per attempt.
    assert numbers[0] < numbers[-1]
    assert 2 <= len(said) <= 12


def test_nothing_is_said_of_a_busy_server_that_answers_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "FIRST_BUSY_LINE_S", 30.0)
    n = 0

    async def busy_now_and_then() -> None:
        nonlocal n
        n += 1
        if n % 2:
            raise CallError("busy", "busy (429)", retry_after_s=0.01)

    assert said_by(busy_now_and_then) == []


def test_a_call_without_an_answer_is_said_while_it_lasts(impatient: None) -> None:
    n = 0

    async def slow_then_fine() -> None:
        nonlocal n
        n += 1
        await asyncio.sleep(0.5)

    said = said_by(slow_then_fine)
    assert said
    pattern = r"waiting for the judge \(example\.org\), attempt 1, no answer for \d s"
    assert all(re.fullmatch(pattern, line) for line in said)


def test_nothing_is_said_of_a_server_that_answers(impatient: None) -> None:
    assert said_by(fine) == []
