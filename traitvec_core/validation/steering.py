"""Whether a vector steers: the figures that the steering evaluation records of its test."""

import math
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from traitvec_core.estimate import Estimate
from traitvec_core.stage_names import Stage
from traitvec_core.storage.manifests import Recommendation, StageManifest
from traitvec_core.validation.forecast import Forecast

__all__ = ["FEW_QUESTIONS", "ForecastOfVectors", "SteeringOutcome", "SteeringTest"]

FEW_QUESTIONS = 10
"""Fewer held-out questions than this are too few."""


class SteeringTest(BaseModel):
    """Whether the chosen dose steers, and what that rests on. All on held-out questions.

    Attributes:
        steers: Whether the effect is above `bound`, its interval above 0, and the dose coherent.
        effect: How far the chosen dose moves the trait score, in points of 0–100.
        bound: What the best of `n_trials` more random directions would show; None when untested.
        p_value: The chance of such an effect if the vector were one more random direction,
            corrected for the searched trials; at most 1.
        random_mean: Mean effect of the random directions.
        random_sd: Standard deviation of their effects, and at least their mean sampling error.
        random_best: The largest effect of a random direction.
        n_random: Random directions with scores.
        n_trials: Trials of the search that the dose was chosen from.
        wrong_way: Share of the questions whose mean score moved down; None without scores.
        n_questions: Questions with scores.
        is_coherent: Whether the dose is coherent enough.
        untested: Why nothing could be tested; None when something was.
    """

    model_config = ConfigDict(frozen=True)

    steers: bool = False
    effect: Estimate = Estimate()
    bound: float | None = None
    p_value: float | None = None
    random_mean: float | None = None
    random_sd: float | None = None
    random_best: float | None = None
    n_random: int = 0
    n_trials: int = 0
    wrong_way: float | None = None
    n_questions: int = 0
    is_coherent: bool = False
    untested: str | None = None

    def at(self, significance: float) -> "SteeringTest":
        """Return the same test at another level of significance."""
        if self.random_mean is None or self.random_sd is None or self.untested is not None:
            return self
        from scipy.special import stdtrit

        quantile = float(stdtrit(self.n_random - 1, 1 - significance / self.n_trials))
        bound = self.random_mean + quantile * self.random_sd * math.sqrt(1 + 1 / self.n_random)
        value, low = self.effect.value, self.effect.low
        steers = (
            value is not None and value > bound and low is not None and low > 0 and self.is_coherent
        )
        return self.model_copy(update={"bound": bound, "steers": steers})

    def objections(self, min_coherence: float | None = None) -> list[str]:
        """Return why it is not shown that the dose steers; empty when it steers.

        Args:
            min_coherence: The smallest coherence that counts, to be named.
        """
        if self.untested is not None:
            return [f"steering could not be tested: {self.untested}"]
        reasons = []
        value, low = self.effect.value, self.effect.low
        if value is not None and self.bound is not None and value <= self.bound:
            reasons.append(
                f"the best of {self.n_trials} random directions would reach {self.bound:+.0f}, so"
                " this may be chance"
            )
        if low is None:
            reasons.append("one held-out question gives no interval")
        elif low <= 0:
            reasons.append("the interval includes 0, so this may be chance")
        if not self.is_coherent:
            least = "" if min_coherence is None else f" ({min_coherence:g})"
            reasons.append(f"held out, it is not coherent enough{least}")
        return reasons


class SteeringOutcome(StageManifest):
    """The part of `steering/evaluation.json` that says whether the vector steers.

    Attributes:
        is_evaluated: Whether steering was evaluated.
        skipped: Why `steering.evaluate: auto` skipped it; None otherwise.
        test: The test of the chosen dose.
        tested: The dose that was tested.
    """

    stage: ClassVar[Stage] = "steering_evaluation"

    is_evaluated: bool
    skipped: str | None = None
    test: SteeringTest | None = None
    tested: Recommendation | None = None


class ForecastOfVectors(StageManifest):
    """The part of `vectors/manifest.json` that decides whether `auto` evaluates steering."""

    stage: ClassVar[Stage] = "vectors"

    forecast: Forecast | None = None
