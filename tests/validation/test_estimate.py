"""Intervals of few clusters: the t quantile, bounds, and what is unknown."""

import numpy as np
import pytest
from scipy.stats import norm, t

from traitvec_core.estimate import Estimate

DRAWS = np.array([0.9, *np.linspace(0.7, 1.0, 50)])


@pytest.mark.parametrize("n_clusters", [3, 5, 10, 100])
def test_the_half_width_is_the_t_quantile_times_the_deviation_of_normal_draws(
    n_clusters: int,
) -> None:
    draws = norm.ppf(np.linspace(0.0005, 0.9995, 1000), scale=0.1)
    estimate = Estimate.from_cluster_draws(np.append(0.9, draws), n_clusters)
    half = t.ppf(0.975, n_clusters - 1) * 0.1
    assert estimate.value == 0.9
    assert estimate.interval == pytest.approx((0.9 - half, 0.9 + half), rel=1e-2)


def test_a_few_absurd_draws_do_not_make_the_interval_absurd() -> None:
    """A resample that takes one question again and again has hardly any scatter."""
    draws = np.append(DRAWS, [1e9, -1e9])
    plain, odd = (Estimate.from_cluster_draws(each, 5).interval for each in (DRAWS, draws))
    assert plain is not None
    assert odd is not None
    assert odd[1] - odd[0] < 1.5 * (plain[1] - plain[0])


def test_bounds_cut_the_interval_and_not_the_value() -> None:
    assert Estimate.from_cluster_draws(DRAWS, 3, (0.0, 1.0)).high == 1.0
    wide = Estimate.from_cluster_draws(DRAWS, 10, (0.0, 1.0))
    assert wide.high == 1.0
    assert wide.low is not None
    assert 0.6 < wide.low < 0.75


@pytest.mark.parametrize(
    ("draws", "n_clusters"),
    [(DRAWS, 1), (DRAWS, 2), (DRAWS[:2], 10), (np.array([0.9, np.nan, np.nan]), 10), (DRAWS, 0)],
)
def test_what_cannot_be_estimated_has_no_interval(draws: np.ndarray, n_clusters: int) -> None:
    assert Estimate.from_cluster_draws(draws, n_clusters) == Estimate(value=0.9)


def test_undefined_draws_are_left_out_and_an_undefined_value_is_unknown() -> None:
    with_nan = np.append(DRAWS, [np.nan, np.inf])
    assert Estimate.from_cluster_draws(with_nan, 5) == Estimate.from_cluster_draws(DRAWS, 5)
    assert Estimate.from_cluster_draws(np.append(np.nan, DRAWS), 5) == Estimate()


@pytest.mark.parametrize("n_clusters", [5, 20])
def test_intervals_of_resampled_means_cover_as_often_as_they_say(n_clusters: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        clusters = rng.standard_normal(n_clusters)
        drawn = rng.choice(clusters, (200, n_clusters)).mean(axis=1)
        estimate = Estimate.from_cluster_draws(np.append(clusters.mean(), drawn), n_clusters)
        assert estimate.interval is not None
        covered += estimate.interval[0] <= 0 <= estimate.interval[1]
    # Percentiles of five clusters cover 0.83.
    assert covered / 400 > 0.91
