"""Agreement with people and its difference, against scipy, and on rubrics that are equally good."""

import math

import numpy as np
import pytest

from benchmarks.rubrics import Case, share_named
from traitvec_core.estimate import Estimate
from traitvec_core.rubrics import Label, compare_scores
from traitvec_core.rubrics.comparison import ContenderResult, compare_with_people

PEOPLE = [float(37 * k % 101) for k in range(40)]


def noisy(sd: float, seed: int) -> list[float]:
    random = np.random.default_rng(seed)
    scores: list[float] = np.clip(PEOPLE + random.normal(0, sd, 40), 0, 100).round().tolist()
    return scores


def test_figures_are_spearmans() -> None:
    from scipy.stats import spearmanr

    first, second = noisy(40, 1), noisy(20, 2)
    figures = compare_scores(PEOPLE, first, second)
    expected = [spearmanr(PEOPLE, scores).statistic for scores in (first, second)]
    assert figures.first.value == pytest.approx(expected[0], abs=1e-4)
    assert figures.second.value == pytest.approx(expected[1], abs=1e-4)
    assert figures.difference.value == pytest.approx(expected[1] - expected[0], abs=2e-4)
    for figure in (figures.first, figures.second, figures.difference):
        assert figure.low is not None
        assert figure.low <= figure.value <= figure.high


def test_the_interval_of_one_is_as_wide_as_theory_expects() -> None:
    """Of a rank correlation: Fisher's, with the variance of Bonett and Wright (2000)."""
    random = np.random.default_rng(3)
    x = random.normal(0, 1, 300)
    y = x + random.normal(0, 1, 300)
    figure = compare_scores(x.tolist(), y.tolist(), y.tolist()).first
    assert figure.value is not None
    half = 1.96 * math.sqrt((1 + figure.value**2 / 2) / (300 - 3))
    assert figure.low == pytest.approx(math.tanh(math.atanh(figure.value) - half), abs=0.02)
    assert figure.high == pytest.approx(math.tanh(math.atanh(figure.value) + half), abs=0.02)


def test_only_the_order_of_scores_counts() -> None:
    first, second = noisy(40, 1), noisy(20, 2)
    figures = compare_scores(PEOPLE, first, second)
    # People who score from 1 to 5, and a judge that is always low.
    squeezed = compare_scores([1 + s / 25 for s in PEOPLE], first, [s / 10 for s in second])
    assert squeezed == figures
    order = np.random.default_rng(5).permutation(40)
    moved = compare_scores(*(np.array(s)[order].tolist() for s in (PEOPLE, first, second)))
    assert moved == figures


def test_the_same_scores_do_not_differ() -> None:
    scores = noisy(40, 1)
    figures = compare_scores(PEOPLE, scores, scores)
    assert figures.difference == Estimate(value=0.0, low=0.0, high=0.0)
    assert figures.first == figures.second


@pytest.mark.parametrize("constant", [0, 1, 2])
def test_scores_that_do_not_vary_have_no_agreement(constant: int) -> None:
    scores = [PEOPLE, noisy(40, 1), noisy(20, 2)]
    scores[constant] = [50.0] * 40
    figures = compare_scores(*scores)
    assert figures.difference == Estimate()
    assert (figures.first == Estimate()) == (constant != 2)
    assert (figures.second == Estimate()) == (constant != 1)


def test_one_response_that_differs_is_too_few_for_an_interval() -> None:
    figures = compare_scores(PEOPLE, noisy(20, 1), [0.0] * 39 + [100.0])
    assert figures.second.value is not None
    assert figures.second.interval is None
    assert figures.difference.interval is None


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_nothing_gives_no_interval(n: int) -> None:
    figures = compare_scores(PEOPLE[:n], noisy(20, 1)[:n], noisy(20, 2)[:n])
    assert figures.difference.interval is None


@pytest.mark.parametrize(
    ("case", "n"),
    [
        (Case("two poles"), 40),
        (Case("five levels", "anchors", shared=0.7), 20),
        (Case("five levels", "anchors", shared=0.7), 40),
        (Case("mostly low", "one of each"), 20),
        # One is often perfect, and few responses tell the two apart.
        (Case("five levels", "anchors", first_error=12), 10),
        (Case("five levels", "one of each", first_error=12), 40),
    ],
)
def test_of_two_equally_good_rubrics_one_is_rarely_called_better(case: Case, n: int) -> None:
    assert sum(share_named(case, n, trials=800, seed=12)) <= 0.05


@pytest.mark.parametrize(("n", "least"), [(20, 0.5), (40, 0.9)])
def test_a_much_better_rubric_is_called_better(n: int, least: float) -> None:
    case = Case("two poles", first_error=60, second_error=15)
    wrong, right = share_named(case, n, trials=200, seed=11)
    assert wrong == 0
    assert right >= least


def test_a_perfect_order_is_not_certain() -> None:
    """Of 40 responses on five levels, one rubric exchanges two: that makes the other no better."""
    people = [25.0 * (k % 5) for k in range(40)]
    one_off = [people[1], people[0], *people[2:]]
    figures = compare_scores(people, people, one_off)
    assert figures.first.value == figures.first.high == 1
    assert figures.first.low is not None
    assert 0.8 < figures.first.low < 0.98
    assert figures.difference.interval is not None
    assert figures.difference.interval[0] < 0 < figures.difference.interval[1]
    # A much worse one is.
    worse = compare_scores(people, people, noisy(40, 1)).difference
    assert worse.high is not None
    assert worse.high < 0


def test_the_interval_of_a_difference_is_as_wide_as_resamples_show() -> None:
    """With so many labels that they are left out in several parts."""
    from scipy.stats import spearmanr

    random = np.random.default_rng(4)
    people = random.normal(0, 1, 1500)
    scores = np.array([people, *(people + random.normal(0, 1, (2, 1500)))])
    figure = compare_scores(*scores.tolist()).difference
    assert figure.interval is not None
    resamples = (scores[:, random.integers(0, 1500, 1500)] for _ in range(300))
    differences = [
        spearmanr(people, second).statistic - spearmanr(people, first).statistic
        for people, first, second in resamples
    ]
    width = figure.interval[1] - figure.interval[0]
    assert width == pytest.approx(2 * 1.96 * np.std(differences), rel=0.15)


# -- the comparison -------------------------------------------------------------------------------


def contenders() -> tuple[ContenderResult, ContenderResult]:
    old, new = (
        ContenderResult(name=name, judge="j", spearman=Estimate(), missing={})
        for name in ("old", "new")
    )
    return old, new


def labels() -> list[Label]:
    return [Label(f"r_{k:02}", "Why?", f"answer {k}", score) for k, score in enumerate(PEOPLE)]


def test_disagreements_are_those_of_the_better_one_by_rank() -> None:
    # In points, half is far from the whole; by rank, only these two are exchanged.
    new: list[float | None] = [score / 2 for score in PEOPLE]
    low, high = (PEOPLE.index(sorted(PEOPLE)[rank]) for rank in (12, 27))
    new[low], new[high] = new[high], new[low]
    result = compare_with_people("t", labels(), contenders(), (noisy(60, 1), new))
    assert (result.better, result.ahead) == ("second", "second")
    shown = [row.question_id for row in result.disagreements]
    assert sorted(shown) == sorted([f"r_{low:02}", f"r_{high:02}"])
    assert result.conclusion.startswith("new agrees better with people (difference +")


def test_swapping_both_swaps_the_result() -> None:
    first, second = noisy(60, 1), noisy(10, 2)
    one = compare_with_people("t", labels(), contenders(), (first, second))
    other = compare_with_people("t", labels(), contenders(), (second, first))
    assert (one.better, other.better) == ("second", "first")
    assert one.difference.value == -(other.difference.value or 0)
    assert one.first.spearman.value == other.second.spearman.value


def test_a_response_without_a_score_by_one_of_them_counts_for_neither() -> None:
    first: list[float | None] = list(noisy(30, 1))
    second: list[float | None] = list(noisy(30, 2))
    first[0] = second[1] = None
    result = compare_with_people("t", labels(), contenders(), (first, second))
    rest = compare_with_people("t", labels()[2:], contenders(), (first[2:], second[2:]))
    assert (result.labels, result.n) == (40, 38)
    assert result.difference == rest.difference
    assert result.anchors == rest.anchors


def test_few_scores_give_no_figure() -> None:
    second = [*noisy(30, 2)[:9], *[None] * 31]
    result = compare_with_people("t", labels(), contenders(), (noisy(30, 1), second))
    assert result.first.spearman == result.difference == Estimate()
    assert result.better is None
    assert "scored only 9 of 40 labelled responses, and 10 are needed" in result.conclusion


def test_means_are_by_the_nearest_anchor() -> None:
    people = [0.0, 12.0, 13.0, 30.0, 100.0] * 2
    own = [Label(f"r_{k}", "q", "a", score) for k, score in enumerate(people)]
    scores: list[float | None] = [10.0, 20.0, 30.0, 50.0, 90.0] * 2
    result = compare_with_people("t", own, contenders(), (scores, scores))
    rows = [(row.anchor, row.n, row.people, row.first) for row in result.anchors]
    assert rows == [(0, 4, 6.0, 15.0), (25, 4, 21.5, 40.0), (100, 2, 100.0, 90.0)]
