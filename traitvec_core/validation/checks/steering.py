"""`steering`: does the chosen dose move the trait further than searched random directions would?"""

from traitvec_core.experiment import ExperimentSettings, Thresholds
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.steering import FEW_QUESTIONS, SteeringOutcome, SteeringTest

__all__ = ["check_steering", "evaluate"]

# Of the residual norm. Near 1 coherence breaks down.
_MUCH_ADDED = 0.75


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    return check_steering(folder.manifest(SteeringOutcome), settings.thresholds)


def check_steering(outcome: SteeringOutcome, thresholds: Thresholds) -> CheckResult:
    """Check that the chosen dose steers, and warn of what speaks against it.

    Args:
        outcome: What the steering evaluation recorded.
        thresholds: `significance` decides; above `wrong_way` the check warns.
    """
    if outcome.test is None:
        reason = outcome.skipped or "steering.evaluate was off when the stage was made"
        return CheckResult(
            name="steering",
            verdict="warn",
            summary=f"not evaluated: {reason}",
            advice="Set steering.evaluate: true in experiment.yaml to evaluate it all the same.",
        )
    test = outcome.test.at(thresholds.significance)
    added_norm = outcome.tested.added_norm if outcome.tested is not None else None
    figures = _figures(test, added_norm)
    if not test.steers:
        return CheckResult(
            name="steering",
            verdict="fail",
            summary="; ".join([*_moved(test, with_bound=False), *test.objections()]),
            advice="Do not steer with this vector. It may still separate the poles.",
            figures=figures,
        )
    doubts = []
    if test.wrong_way is not None and test.wrong_way > thresholds.wrong_way:
        doubts.append(
            f"{test.wrong_way:.0%} of the held-out questions move the wrong way"
            f" (more than {thresholds.wrong_way:.0%})"
        )
    if test.n_questions < FEW_QUESTIONS:
        doubts.append(
            f"{test.n_questions} held-out questions are few: add eval_questions to the trait's"
            f" definition, {FEW_QUESTIONS} or more"
        )
    if added_norm is not None and added_norm >= _MUCH_ADDED:
        doubts.append(
            f"the dose adds {added_norm:.2f} of the residual norm; coherence breaks down near 1"
        )
    return CheckResult(
        name="steering",
        verdict="warn" if doubts else "pass",
        summary="; ".join([*_moved(test), *doubts]),
        advice="Read the steered responses in the report before you use this dose."
        if doubts
        else "",
        figures=figures,
    )


def _moved(test: SteeringTest, *, with_bound: bool = True) -> list[str]:
    """How far the dose moves the trait score, and what it is compared with."""
    if test.effect.value is None:
        return []
    moved = f"the dose moves the trait score by {test.effect.format('+.0f')}"
    if test.bound is None or not with_bound:
        return [moved if test.p_value is None else f"{moved} (p = {test.p_value:.2g})"]
    return [
        f"{moved}; the best of {test.n_trials} random directions would reach {test.bound:+.0f}"
        f" (p = {test.p_value:.2g})"
    ]


def _figures(test: SteeringTest, added_norm: float | None) -> Figures:
    return {
        "effect": test.effect.value,
        "effect_low": test.effect.low,
        "effect_high": test.effect.high,
        "bound": test.bound,
        "p_value": test.p_value,
        "random_mean": test.random_mean,
        "random_sd": test.random_sd,
        "random_best": test.random_best,
        "n_random": test.n_random,
        "n_trials": test.n_trials,
        "wrong_way": test.wrong_way,
        "n_questions": test.n_questions,
        "added_norm": added_norm,
    }
