"""All checks, in order: what each one tests, on which stage, and what follows from a failure.

A new check is one row here, one name in `experiment.CheckName` and one file beside this one, called
as the check is, with a function `evaluate(folder, settings)`. A check that has nothing to test
fails; it does not pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from traitvec_core.elicited_by import in_words_of
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import CheckName, ExperimentSettings
from traitvec_core.judging.load import is_judge_compared
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Verdict

__all__ = ["CHECKS", "Check", "applicable_checks", "checks_of", "conclude_check", "evaluate_check"]

# The section on results that cannot be read: files are missing, or were changed.
_UNREADABLE = "stale-results"


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Attributes:
        name: The check's name, and that of its module in this folder.
        stage: The stage whose results it tests.
        description: What passing means, in one sentence.
        troubleshooting: The section of docs/troubleshooting.md that helps when it does not pass.
        is_blocking: Whether a failure stops the trait, because the next stage would have nothing to
            work on. A weak contrast or a low accuracy is a result, and its report is still made.
        is_of_recommended: Whether it tests the recommended vector alone. Steering may recommend
            another one than separation does, so it waits for steering.
    """

    name: CheckName
    stage: Stage
    description: str
    troubleshooting: str
    is_blocking: bool = False
    is_of_recommended: bool = False

    def evaluate(self, folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
        """Evaluate the check on a trait's files.

        Raises:
            TraitvecError: If a file cannot be read.
        """
        # Torch and scikit-learn are imported by the checks that need them, when they run.
        module = import_module(f"traitvec_core.validation.checks.{self.name}")
        return cast(CheckResult, module.evaluate(folder, settings))


_ROWS = (
    Check(
        "definition",
        stage="definition",
        description="The definition can be used; every problem is listed.",
        troubleshooting="broken-definitions",
        is_blocking=True,
    ),
    Check(
        "contrast",
        stage="judged_responses",
        description="Mean trait score, positive − negative, over all scored rows before filtering.",
        troubleshooting="weak-contrast",
    ),
    Check(
        "coverage",
        stage="judged_responses",
        description="Enough of both poles is kept, of all questions and pairs, and no thinking.",
        troubleshooting="nothing-is-kept",
        is_blocking=True,
    ),
    Check(
        "agreement",
        stage="judged_responses",
        description="A second judge, people and the judge itself, asked again, agree with it.",
        troubleshooting="a-doubtful-judge",
    ),
    Check(
        "sanity",
        stage="activations",
        description="Activations are finite, of both poles, and of the model's shape.",
        troubleshooting="activations-that-are-not-finite",
        is_blocking=True,
    ),
    Check(
        "norm",
        stage="vectors",
        description="The recommended vector is longer than swapped labels make it.",
        troubleshooting="norms-out-of-range",
        is_of_recommended=True,
    ),
    Check(
        "accuracy",
        stage="vectors",
        description="A probe separates the poles on new questions and new instruction pairs.",
        troubleshooting="weak-separation",
    ),
    Check(
        "confounds",
        stage="vectors",
        description="Length, words, refusing, embeddings and the instruction explain little.",
        troubleshooting="other-explanations",
        is_of_recommended=True,
    ),
    Check(
        "chance",
        stage="vectors",
        description="The vector beats swapped pairs, swapped questions and random directions.",
        troubleshooting="no-better-than-chance",
        is_of_recommended=True,
    ),
    Check(
        "stability",
        stage="vectors",
        description="Other questions and instructions give the same vector; the last run did.",
        troubleshooting="an-unstable-vector",
        is_of_recommended=True,
    ),
    Check(
        "steering",
        stage="steering_evaluation",
        description="The chosen dose moves the trait further than searched random directions do.",
        troubleshooting="a-vector-that-does-not-steer",
    ),
)
CHECKS: dict[CheckName, Check] = {check.name: check for check in _ROWS}


def applicable_checks(settings: ExperimentSettings, folder: TraitFolder) -> list[CheckName]:
    """Return the checks that make sense for a trait.

    `agreement` needs something to compare, and `steering` an evaluation that is not switched off.
    """
    return checks_of(settings, [folder])


def checks_of(settings: ExperimentSettings, folders: Iterable[TraitFolder]) -> list[CheckName]:
    """Return the checks that make sense for any of some traits."""
    left_out = set()
    if not is_judge_compared(settings, folders):
        left_out.add("agreement")
    if not settings.steering.evaluate:
        left_out.add("steering")
    return [name for name in CHECKS if name not in left_out]


def evaluate_check(
    name: CheckName, folder: TraitFolder, settings: ExperimentSettings
) -> CheckResult:
    """Evaluate one check of a trait on the files that its stages wrote.

    Args:
        name: A name from `CHECKS`.
        folder: The trait's folder.
        settings: The experiment's settings, for thresholds and severities.

    Returns:
        The result. A check whose files cannot be read has tested nothing, and fails.
    """
    try:
        return conclude_check(name, folder, settings)
    except TraitvecError as error:
        is_definition = isinstance(error, DefinitionError)
        section = CHECKS[name].troubleshooting if is_definition else _UNREADABLE
        failed = CheckResult(name=name, verdict="fail", summary=str(error))
        return _with_consequences(failed, section, folder, settings)


def conclude_check(
    name: CheckName, folder: TraitFolder, settings: ExperimentSettings
) -> CheckResult:
    """Evaluate one check like `evaluate_check`, but only if its files can be read.

    Raises:
        TraitvecError: If a file cannot be read, so that the check has tested nothing.
    """
    result = CHECKS[name].evaluate(folder, settings)
    # `definition` quotes the definition, and finds the word itself.
    if name != "definition":
        summary, advice = (
            in_words_of(settings.elicitation, text) for text in (result.summary, result.advice)
        )
        result = result.model_copy(update={"summary": summary, "advice": advice})
    return _with_consequences(result, CHECKS[name].troubleshooting, folder, settings)


def _with_consequences(
    result: CheckResult, section: str, folder: TraitFolder, settings: ExperimentSettings
) -> CheckResult:
    """Return a result with its advice, and as severe as the settings make it."""
    if result.verdict == "pass":
        return result
    name = cast(CheckName, result.name)
    # Before `severities`, which can turn a failure into a warning: a failure is not accepted.
    reason = settings.accepted_of(folder.name).get(name, "").strip()
    if reason and result.verdict == "warn":
        return result.model_copy(
            update={
                "verdict": "pass",
                "accepted": reason,
                "summary": f"accepted ({reason}): {result.summary}",
                "advice": "",
            }
        )
    # A path and not an address: only `traitvec ui` serves the docs, and makes it a link.
    advice = f"{result.advice} See docs/troubleshooting.md#{section}.".strip()
    return result.model_copy(
        update={"advice": advice, "verdict": _severity(name, result.verdict, settings)}
    )


def _severity(name: CheckName, verdict: Verdict, settings: ExperimentSettings) -> Verdict:
    severity = settings.severities.get(name)
    if severity is None:
        return verdict
    return "warn" if severity == "warn" else "fail"
