"""The rule that names pairs and questions: silent where all are alike, and not blind."""

import numpy as np
import pytest

from traitvec_core.trial.outliers import ALPHA, Cell, find_outliers

LIMIT = 20.0
N = 150


def _cells(
    rng: np.random.Generator, n_pairs: int, mean: float, idle: tuple[int, ...] = ()
) -> list[Cell]:
    """Contrasts with noise of 25 points; with ten pairs, each meets five of ten questions."""
    return [
        Cell(pair, question, float(rng.normal(0.0 if pair in idle else mean, 25.0) + 3 * question))
        for pair in range(n_pairs)
        for question in (range(5) if n_pairs == 5 else [(pair + k) % 10 for k in range(5)])
    ]


@pytest.mark.parametrize("n_pairs", [5, 10])
@pytest.mark.parametrize("mean", [0.0, 15.0])
def test_where_all_pairs_are_alike_one_is_rarely_named(n_pairs: int, mean: float) -> None:
    rng = np.random.default_rng(0)
    named = sum(
        bool(find_outliers(_cells(rng, n_pairs, mean), LIMIT, seed=k).named) for k in range(N)
    )
    # Three standard errors above the nominal rate.
    assert named / N <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / N)


@pytest.mark.parametrize("n_pairs", [5, 10])
def test_a_pair_that_elicits_nothing_is_named_and_no_other(n_pairs: int) -> None:
    rng = np.random.default_rng(1)
    results = [
        find_outliers(_cells(rng, n_pairs, 60.0, idle=(2,)), LIMIT, seed=k).named for k in range(N)
    ]
    assert sum(2 in named for named in results) / N > 0.65
    assert sum(bool(set(named) - {2}) for named in results) / N < 0.05


def test_two_pairs_can_be_named_one_after_the_other() -> None:
    cells = [
        Cell(pair, question, 0.0 if pair in (1, 7) else 80.0 + pair)
        for pair in range(10)
        for question in range(5)
    ]
    outliers = find_outliers(cells, LIMIT)
    assert set(outliers.named) == {1, 7}
    assert all(outliers.p[pair] <= ALPHA for pair in (1, 7))


def test_what_elicits_enough_is_never_named_however_low_among_the_others() -> None:
    cells = [
        Cell(pair, question, 30.0 if pair == 1 else 95.0)
        for pair in range(6)
        for question in range(5)
    ]
    assert find_outliers(cells, LIMIT).named == ()
    assert find_outliers(cells, 40.0).named == (1,)


def test_one_pair_has_nothing_to_stand_out_from() -> None:
    outliers = find_outliers([Cell(0, question, 0.0) for question in range(5)], LIMIT)
    assert outliers.named == ()
    assert outliers.p == {0: 1.0}
    assert find_outliers([], LIMIT).named == ()
