"""Means of scores over questions, and how honest their intervals are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traitvec_core.estimate import Estimate
from traitvec_core.steering_evaluation.intervals import (
    difference_of_means,
    mean_score,
    moved_by,
    questions_moved,
)

SCORE = "trait_score"
tables = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.integers(0, 100)), min_size=1, max_size=30
)


def frame(rows: Sequence[tuple[int, float | None]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["question_number", SCORE]).astype({SCORE: float})


@settings(max_examples=60)
@given(rows=tables, shift=st.integers(-20, 20))
def test_intervals(rows: list[tuple[int, float | None]], shift: int) -> None:
    table = frame(rows)
    found = mean_score(table, SCORE)
    present = [score for _, score in rows if score is not None]
    if not present:
        assert found == Estimate()
        return
    assert found.value == pytest.approx(np.mean(present))
    questions = {number for number, score in rows if score is not None}
    assert (found.interval is None) == (len(questions) == 1)
    if found.interval is not None:
        assert found.interval[0] <= found.value <= found.interval[1]
    shuffled = mean_score(table.sample(frac=1, random_state=1), SCORE)
    assert shuffled.model_dump() == pytest.approx(found.model_dump())
    # Question by question the difference is the same everywhere: there is nothing to be unsure of.
    moved = moved_by(table.assign(**{SCORE: table[SCORE] + shift}), table, SCORE)
    assert moved.value == pytest.approx(shift, abs=1e-9)
    if moved.interval is not None:
        assert moved.interval == pytest.approx((shift, shift), abs=1e-6)


def test_with_one_response_to_each_question_it_is_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(40, 10, 8), rng.normal(55, 10, 8)
    found = difference_of_means(frame([*enumerate(after)]), frame([*enumerate(before)]), SCORE)
    assert found.value == pytest.approx((after - before).mean())
    assert found.standard_error == pytest.approx((after - before).std(ddof=1) / np.sqrt(8))
    # The t quantile of 7 degrees of freedom.
    assert found.estimate.high == pytest.approx(found.value + 2.364624 * found.standard_error)


def test_missing_scores_are_left_out_and_never_zero() -> None:
    base = frame([(0, 40.0), (1, 60.0), (2, 50.0)])
    moved = frame([(0, 50.0), (1, None), (2, 70.0)])
    found = moved_by(moved, base, SCORE)
    assert found.value == pytest.approx(60 - 50)
    assert questions_moved(moved, base, SCORE).tolist() == [10.0, 20.0]
    assert moved_by(frame([(0, None)]), base, SCORE) == Estimate()


@pytest.mark.parametrize("n_questions", [5, 10, 20])
def test_the_interval_covers_the_truth_and_seldom_excludes_nothing(n_questions: int) -> None:
    rng = np.random.default_rng(n_questions)
    n, n_sets = 40, 2_000
    numbers = np.arange(n) % n_questions
    covered = excluded = 0
    for _ in range(n_sets):
        # Questions differ, react differently to steering, and responses differ.
        base, reaction = rng.normal(40, 15, n_questions), rng.normal(0, 10, n_questions)
        low = pd.DataFrame(
            {"question_number": numbers, SCORE: base[numbers] + rng.normal(0, 15, n)}
        )
        high = pd.DataFrame(
            {
                "question_number": numbers,
                SCORE: (base + reaction)[numbers] + rng.normal(0, 15, n),
            }
        )
        found = moved_by(high, low, SCORE)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
        excluded += found.low > 0
    assert 0.93 <= covered / n_sets <= 0.98
    assert excluded / n_sets <= 0.035
