"""How often `traitvec rubric` says that one rubric is better, when it is and when it is not.

`python -m benchmarks.rubrics` prints the table of `docs/judging.md` (some ten minutes on one core);
`--trials 100` gives a first impression.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr

from traitvec_core.rubrics import compare_scores

__all__ = ["Case", "null_cases", "share_named"]

Answers = Literal["numbers", "anchors", "one of each"]
_MANY = 100_000


@dataclass(frozen=True)
class Case:
    """Two rubrics whose scores are the right score and an error.

    Attributes:
        people: How people's scores are spread: `two poles` as in a trait's sheet, `five levels`,
            or `mostly low`.
        answers: Whether a judge gives whole numbers or only 0, 25, 50, 75 and 100.
        shared: Correlation of both rubrics' errors.
        first_error: Standard deviation of the first rubric's errors, in points.
        second_error: That of the second one's; None for an equally good rubric.
    """

    people: Literal["two poles", "five levels", "mostly low"]
    answers: Answers = "numbers"
    shared: float = 0.0
    first_error: float = 40.0
    second_error: float | None = None

    def draw(self, random: np.random.Generator, n: int) -> Any:
        """Return `[3, n]`: scores of people, of the first and of the second rubric."""
        second_error = self.second_error
        if second_error is None:
            second_error = self.first_error
            if self.answers == "one of each":
                second_error = _equally_good(self)
        return self._scores(random, n, second_error)

    def _scores(self, random: np.random.Generator, n: int, second_error: float) -> Any:
        people = _PEOPLE[self.people](random, n)
        both = random.normal(0, np.sqrt(self.shared), n)
        own = random.normal(0, np.sqrt(1 - self.shared), (2, n))
        errors = (both + own) * np.array([[self.first_error], [second_error]])
        first, second = np.clip(people + errors, 0, 100).round()
        if self.answers == "anchors":
            first = _anchored(first)
        if self.answers != "numbers":
            second = _anchored(second)
        return np.array([people, first, second])

    def correlations(self, second_error: float) -> Any:
        """Return the rank correlations of both with people, in very many responses."""
        people, *both = self._scores(np.random.default_rng(1), _MANY, second_error)
        return [float(spearmanr(people, scores).statistic) for scores in both]


def _anchored(scores: Any) -> Any:
    return (scores / 25).round() * 25


_PEOPLE: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "two poles": lambda random, n: np.clip(
        np.where(np.arange(n) % 2, 80, 15) + random.normal(0, 15, n), 0, 100
    ).round(),
    "five levels": lambda random, n: random.choice([0.0, 25.0, 50.0, 75.0, 100.0], n),
    "mostly low": lambda random, n: np.clip(random.exponential(12, n), 0, 100).round(),
}


@cache
def _equally_good(case: Case) -> float:
    """Return the error with which anchors order responses as well as the first one's numbers."""
    low, high = 0.0, case.first_error
    for _ in range(20):
        middle = (low + high) / 2
        first, second = case.correlations(middle)
        low, high = (middle, high) if second > first else (low, middle)
    return low


def null_cases() -> Iterator[Case]:
    """Yield the cases in which both rubrics are equally good."""
    all_answers: tuple[Answers, ...] = ("numbers", "anchors", "one of each")
    # Errors of 12 points: most of five levels stay in order, and few responses tell the two apart.
    for error, people, answers, shared in product((40.0, 12.0), _PEOPLE, all_answers, (0.0, 0.7)):
        yield Case(people, answers, shared, error)  # type: ignore[arg-type]


def share_named(case: Case, n: int, trials: int, seed: int = 0) -> tuple[float, float]:
    """Return how often the first, and how often the second is called better.

    Args:
        case: The case.
        n: Labelled responses.
        trials: Number of trials.
        seed: Seed of the trials.
    """
    random = np.random.default_rng(seed)
    named = np.zeros(2)
    for _ in range(trials):
        interval = compare_scores(*case.draw(random, n)).difference.interval
        if interval is not None:
            named += (interval[1] < 0, interval[0] > 0)
    first, second = named / trials
    return float(first), float(second)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    for n in (10, 20, 40, 100):
        shares = []
        for case in null_cases():
            shares.append(sum(share_named(case, n, trials, seed=n)))
            sys.stderr.write(f"{n} {case} {shares[-1]:.4f}\n")
        print(f"{n} labels, equally good: {np.mean(shares):.4f}, at most {max(shares):.4f}")  # noqa: T201
    for n, (first, second) in product(
        (10, 20, 40, 100), ((60.0, 15.0), (40.0, 15.0), (40.0, 25.0))
    ):
        case = Case("two poles", first_error=first, second_error=second)
        agreements = " and ".join(f"{r:.2f}" for r in case.correlations(second))
        wrong, right = share_named(case, n, trials // 2)
        print(f"{n} labels, {agreements}: named {right:.2f}, wrongly {wrong:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
