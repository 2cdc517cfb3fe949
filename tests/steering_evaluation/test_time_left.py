"""The time left of a steering evaluation: judging is part of it."""

import pytest

from traitvec_core.steering_evaluation.time_left import TimeLeft


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_judging_that_is_still_to_come_is_counted(clock: Clock) -> None:
    left = TimeLeft(30, clock)
    left.start()
    clock.now += 20
    left.generated(10)
    # Nobody knows yet how fast the judge is.
    assert left.seconds() is None
    left.start()
    clock.now += 50
    left.judged(10)
    # 20 responses: 2 s each to generate, 5 s each to judge.
    assert left.seconds() == pytest.approx(20 * 2 + 20 * 5)
    left.start()
    clock.now += 40
    left.generated(20)
    # All are there, and the last 20 have to be judged.
    assert left.seconds() == pytest.approx(20 * 5)
    left.start()
    clock.now += 50
    left.judged(10)
    assert left.seconds() == pytest.approx(10 * 5)
    clock.now += 50
    left.judged(10)
    assert left.seconds() == 0


def test_a_judge_that_keeps_up_adds_next_to_nothing(clock: Clock) -> None:
    left = TimeLeft(20, clock)
    left.start()
    clock.now += 30
    left.generated(10)
    left.start()
    left.judged(10)
    assert left.seconds() == pytest.approx(30)


def test_other_work_in_between_is_no_pace(clock: Clock) -> None:
    left = TimeLeft(4, clock)
    left.start()
    clock.now += 2
    left.generated(2)
    clock.now += 1000
    left.start()
    clock.now += 2
    left.judged(2)
    assert left.seconds() == pytest.approx(4)


def test_responses_of_an_interrupted_run_set_no_pace(clock: Clock) -> None:
    left = TimeLeft(40, clock)
    left.had_generated(20)
    left.had_judged(20)
    assert left.seconds() is None
    left.start()
    clock.now += 10
    left.generated(10)
    left.start()
    clock.now += 30
    left.judged(10)
    assert left.seconds() == pytest.approx(10 * 1 + 10 * 3)
