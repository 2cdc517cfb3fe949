"""Mean scores and their differences, with intervals over clusters of questions."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from traitvec_core.estimate import Estimate

__all__ = ["ClusteredMean", "difference_of_means", "mean_score", "moved_by", "questions_moved"]

_Numbers = NDArray[np.float64]


class ClusteredMean(NamedTuple):
    """A mean over responses, or a difference of two, with its error over questions.

    Attributes:
        value: The mean; NaN without scores.
        standard_error: Cluster-robust; NaN with fewer than two questions.
        n_questions: Questions with a score.
    """

    value: float
    standard_error: float
    n_questions: int

    @property
    def estimate(self) -> Estimate:
        """The value with its 95% t interval, Q − 1 degrees of freedom; none for one question."""
        if math.isnan(self.value) or math.isnan(self.standard_error):
            return Estimate(value=self.value)
        from scipy.special import stdtrit

        half = float(stdtrit(self.n_questions - 1, 0.975)) * self.standard_error
        return Estimate(value=self.value, low=self.value - half, high=self.value + half)


def mean_score(table: pd.DataFrame, column: str) -> Estimate:
    """Return the mean of a score; without a value when no response has one.

    Args:
        table: Judged responses with `question_number`.
        column: The score's column.
    """
    questions, places = np.unique(table["question_number"].to_numpy(), return_inverse=True)
    sums, counts = _per_question(table[column].to_numpy(float), places, len(questions))
    return _clustered(*_residuals(sums, counts)).estimate


def moved_by(table: pd.DataFrame, unsteered: pd.DataFrame, column: str) -> Estimate:
    """Return the mean of a score minus that without steering; see `difference_of_means`."""
    return difference_of_means(table, unsteered, column).estimate


def difference_of_means(table: pd.DataFrame, unsteered: pd.DataFrame, column: str) -> ClusteredMean:
    """Return the mean of a score minus that without steering, clustered by question.

    With m the pooled means, s and n each question's sums and counts, and N the totals, a question's
    residual is r = (s1 − m1·n1)/N1 − (s0 − m0·n0)/N0, and SE² = Q/(Q − 1) · Σ r².

    Args:
        table: Judged responses with `question_number`.
        unsteered: Those without steering, to the same questions.
        column: The score's column.
    """
    (sums, counts), (base_sums, base_counts) = _paired(table, unsteered, column)
    mean, residuals, is_scored = _residuals(sums, counts)
    base_mean, base_residuals, is_base_scored = _residuals(base_sums, base_counts)
    return _clustered(mean - base_mean, residuals - base_residuals, is_scored | is_base_scored)


def questions_moved(table: pd.DataFrame, unsteered: pd.DataFrame, column: str) -> _Numbers:
    """Return how far each question's mean score moved; questions without both are left out."""
    (sums, counts), (base_sums, base_counts) = _paired(table, unsteered, column)
    has_both = (counts > 0) & (base_counts > 0)
    moved: _Numbers = (
        sums[has_both] / counts[has_both] - base_sums[has_both] / base_counts[has_both]
    )
    return moved


def _residuals(sums: _Numbers, counts: _Numbers) -> tuple[float, _Numbers, NDArray[np.bool_]]:
    """The pooled mean, each question's share of its error, and which questions have scores."""
    total = counts.sum()
    if not total:
        return math.nan, np.full(len(sums), math.nan), counts > 0
    mean = float(sums.sum() / total)
    return mean, (sums - mean * counts) / total, counts > 0


def _clustered(mean: float, residuals: _Numbers, is_scored: NDArray[np.bool_]) -> ClusteredMean:
    n = int(is_scored.sum())
    if n < 2:
        return ClusteredMean(mean, math.nan, n)
    return ClusteredMean(mean, math.sqrt(n / (n - 1) * float((residuals**2).sum())), n)


def _per_question(scores: _Numbers, places: NDArray[np.int64], n_questions: int) -> _Numbers:
    """Return `[2, n_questions]`: the sum and the number of each question's scores."""
    is_scored = ~np.isnan(scores)
    places = places[is_scored]
    sums = np.bincount(places, weights=scores[is_scored], minlength=n_questions)
    return np.array([sums, np.bincount(places, minlength=n_questions)])


def _paired(table: pd.DataFrame, unsteered: pd.DataFrame, column: str) -> tuple[_Numbers, _Numbers]:
    """Both tables' sums and numbers of scores, over the questions of either."""
    own, base = table["question_number"].to_numpy(), unsteered["question_number"].to_numpy()
    questions, places = np.unique(np.concatenate([own, base]), return_inverse=True)
    n = len(questions)
    return (
        _per_question(table[column].to_numpy(float), places[: len(own)], n),
        _per_question(unsteered[column].to_numpy(float), places[len(own) :], n),
    )
