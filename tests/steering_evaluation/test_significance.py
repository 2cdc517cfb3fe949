"""The test of a dose: quiet without an effect, loud with one, and untested where it cannot be."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.calibrate.steering import simulate
from traitvec_core.steering_evaluation.significance import compare_with_random
from traitvec_core.validation.steering import SteeringTest

# `make calibrate` simulates more. Without the correction for the search, 15% to 49% of these would
# be called steering where directions have effects, but for 9% with an SD of 6 and 5 questions.
N_SETS = 120
# 5%, and two standard errors of a share of 120: 9%.
MOST = 0.05 + 2 * (0.05 * 0.95 / N_SETS) ** 0.5


def table(means: Sequence[float | None], spread: float = 0.0) -> pd.DataFrame:
    """Two responses to each question, `spread` above and below its mean."""
    return pd.DataFrame(
        [
            (number, np.nan if mean is None else mean + sign * spread)
            for number, mean in enumerate(means)
            for sign in (-1, 1)
        ],
        columns=["question_number", "trait_score"],
    ).astype({"trait_score": float})


BASE = [30.0, 40.0, 50.0, 60.0]


def moved(by: float, jitter: float = 1.0) -> pd.DataFrame:
    """Every question moves by `by`, some more than others."""
    return table([b + by + jitter * (-1) ** k for k, b in enumerate(BASE)])


def compare(effect: float, random: Sequence[float], **others: object) -> SteeringTest:
    given = {"n_trials": 16, "is_coherent": True, **others}
    return compare_with_random(moved(effect), [moved(r) for r in random], table(BASE), **given)


RANDOM = [-8.0, -5.0, -2.0, 0.0, 1.0, 4.0, 7.0, 9.0]


# -- simulated traits ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_questions", [5, 10, 20])
@pytest.mark.parametrize("sd", [0.0, 6.0, 20.0])
def test_the_best_of_many_random_directions_is_not_called_steering(
    sd: float, n_questions: int
) -> None:
    assert simulate(sd, n_questions, N_SETS, seed=1) <= MOST


@pytest.mark.parametrize("n_questions", [5, 10, 20])
def test_a_large_effect_is_called_steering(n_questions: int) -> None:
    assert simulate(6.0, n_questions, 40, seed=1, effect=48.0) >= 0.95


# -- the formula -----------------------------------------------------------------------------------


def test_the_bound_is_the_prediction_interval_of_the_best_of_as_many_trials() -> None:
    test = compare(40.0, RANDOM)
    n, mean, spread = 8, np.mean(RANDOM), np.std(RANDOM, ddof=1)
    error = spread * np.sqrt(1 + 1 / n)
    assert test.bound == pytest.approx(mean + stats.t.ppf(1 - 0.05 / 16, n - 1) * error)
    assert test.p_value == pytest.approx(16 * stats.t.sf((40 - mean) / error, n - 1))
    assert (test.random_mean, test.random_sd) == pytest.approx((mean, spread))
    assert (test.random_best, test.n_random, test.n_trials) == (pytest.approx(9.0), 8, 16)
    assert test.steers
    assert test.objections() == []


def test_more_trials_raise_the_bound() -> None:
    few, many = compare(30.0, RANDOM, n_trials=1), compare(30.0, RANDOM, n_trials=16)
    assert few.bound is not None
    assert many.bound is not None
    assert few.bound < many.bound
    # The same effect is one too many of sixteen.
    between = (few.bound + many.bound) / 2
    assert compare(between, RANDOM, n_trials=1).steers
    lost = compare(between, RANDOM, n_trials=16)
    assert not lost.steers
    assert "best of 16 random directions" in lost.objections()[0]
    assert lost.p_value is not None
    assert lost.p_value > 0.05


def test_another_significance_gives_what_a_new_test_would() -> None:
    assert compare(30.0, RANDOM).at(0.001) == compare(30.0, RANDOM, significance=0.001)


def test_a_lucky_small_spread_does_not_lower_the_bound() -> None:
    # All random directions move the mean alike, but each is uncertain.
    noisy = [moved(0.0, jitter=10.0) for _ in range(8)]
    test = compare_with_random(moved(5.0), noisy, table(BASE), n_trials=16, is_coherent=True)
    assert test.random_sd == pytest.approx(10 / np.sqrt(3))
    assert not test.steers


def test_what_cannot_be_tested_does_not_steer() -> None:
    alone = compare(40.0, [0.0])
    assert not alone.steers
    assert "spread is unknown" in str(alone.untested)
    assert alone.bound is None
    unscored = [table([None] * 4) for _ in range(8)]
    none = compare_with_random(moved(40.0), unscored, table(BASE), n_trials=16, is_coherent=True)
    assert (none.steers, none.n_random, none.random_mean) == (False, 0, None)
    alike = [table([b + 2 for b in BASE])] * 8
    same = compare_with_random(moved(40.0), alike, table(BASE), n_trials=16, is_coherent=True)
    assert not same.steers
    assert "same effect" in str(same.untested)
    silent = compare_with_random(
        table([None] * 4), [moved(r) for r in RANDOM], table(BASE), n_trials=16, is_coherent=True
    )
    assert not silent.steers
    assert silent.effect.value is None


def test_it_needs_an_interval_above_zero_and_coherence() -> None:
    wide = compare_with_random(
        moved(40.0, jitter=60.0), [moved(r / 10) for r in RANDOM], table(BASE),
        n_trials=16, is_coherent=True,
    )  # fmt: skip
    assert wide.bound is not None
    assert wide.effect.value is not None
    assert wide.effect.value > wide.bound
    assert not wide.steers
    assert wide.objections() == ["the interval includes 0, so this may be chance"]
    broken = compare(40.0, RANDOM, is_coherent=False)
    assert not broken.steers
    assert broken.objections() == ["held out, it is not coherent enough"]


def test_the_wrong_way_is_strictly_down() -> None:
    up = table([35.0, 40.0, 45.0, 70.0])
    test = compare_with_random(
        up, [moved(r) for r in RANDOM], table(BASE), n_trials=16, is_coherent=True
    )
    # One up by 5, one unchanged, one down, one up by 10.
    assert (test.wrong_way, test.n_questions) == (0.25, 4)
