"""`steering`: what passes, what warns, what fails, and what was not evaluated."""

from typing import Any

import pytest

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings, Thresholds
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.checks.steering import check_steering
from traitvec_core.validation.checks.table import applicable_checks
from traitvec_core.validation.steering import SteeringOutcome, SteeringTest

GOOD = {
    "effect": Estimate(value=48.0, low=40.0, high=56.0), "random_mean": 1.0, "random_sd": 6.0,
    "random_best": 10.0, "p_value": 1e-4, "n_random": 16, "n_trials": 16, "wrong_way": 0.0,
    "n_questions": 10, "is_coherent": True,
}  # fmt: skip


def outcome(added_norm: float | None = 0.5, **figures: Any) -> SteeringOutcome:
    chosen = Recommendation(
        method="mean_diff", layer=3, chosen_by="steering", why="", added_norm=added_norm
    )
    test = SteeringTest.model_validate({**GOOD, **figures}).at(0.05)
    return SteeringOutcome(is_evaluated=True, test=test, tested=chosen)


def test_a_dose_that_steers_passes_with_every_figure() -> None:
    found = check_steering(outcome(), Thresholds())
    assert found.verdict == "pass"
    assert found.figures["effect"] == 48.0
    assert found.figures["added_norm"] == 0.5
    assert None not in found.figures.values()
    assert "best of 16 random directions would reach +21" in found.summary


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({"effect": Estimate(value=20.0, low=15.0, high=25.0)}, "best of 16 random directions"),
        ({"effect": Estimate(value=48.0, low=-2.0, high=98.0)}, "the interval includes 0"),
        ({"effect": Estimate(value=48.0)}, "no interval"),
        ({"is_coherent": False}, "not coherent enough"),
        ({"untested": "no dose raised the trait score"}, "could not be tested: no dose"),
    ],
)
def test_what_is_not_shown_to_steer_fails(figures: dict[str, Any], why: str) -> None:
    found = check_steering(outcome(**figures), Thresholds())
    assert found.verdict == "fail"
    assert why in found.summary
    assert found.advice


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({"wrong_way": 0.3}, "30% of the held-out questions move the wrong way"),
        ({"n_questions": 9}, "9 held-out questions are few"),
        ({"added_norm": 1.0}, "coherence breaks down near 1"),
    ],
)
def test_doubts_warn(figures: dict[str, Any], why: str) -> None:
    found = check_steering(outcome(**figures), Thresholds())
    assert found.verdict == "warn"
    assert why in found.summary
    assert check_steering(outcome(wrong_way=0.25), Thresholds()).verdict == "pass"


def test_the_thresholds_decide() -> None:
    assert check_steering(outcome(), Thresholds(significance=1e-7)).verdict == "fail"
    assert check_steering(outcome(wrong_way=0.3), Thresholds(wrong_way=0.5)).verdict == "pass"


def test_what_auto_skipped_warns_with_the_reason() -> None:
    skipped = SteeringOutcome(is_evaluated=False, skipped="the poles do not separate")
    found = check_steering(skipped, Thresholds())
    assert found.verdict == "warn"
    assert found.summary == "not evaluated: the poles do not separate"


@pytest.mark.parametrize(("evaluate", "applies"), [("auto", True), (True, True), (False, False)])
def test_it_does_not_apply_where_steering_is_off(
    evaluate: Any, applies: bool, tmp_path: Any
) -> None:
    settings = ExperimentSettings.model_validate({"model": "m", "steering": {"evaluate": evaluate}})
    folder = ExperimentFolder(tmp_path, "e").trait("t")
    assert ("steering" in applicable_checks(settings, folder)) == applies
