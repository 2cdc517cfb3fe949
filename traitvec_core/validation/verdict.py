"""One verdict on one vector, from the checks."""

from collections.abc import Iterable, Sequence
from typing import Literal

from traitvec_core.experiment import CheckName
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.validation.checks.result import CheckResult

__all__ = ["STEERING_NOT_EVALUATED", "Grade", "grade_checks", "judge_vector"]

Grade = Literal["fatal", "grave", "mild", "noted"]
"""What a check that does not pass means for the vector: a `fatal` one makes it not usable, `grave`
and `mild` ones ask for care, and one that is `noted` changes nothing."""

STEERING_NOT_EVALUATED = "steering was not evaluated, so nothing shows that the vector steers"

_VERDICTS: dict[Grade, VectorVerdict] = {
    "fatal": "not_usable", "grave": "with_care", "mild": "with_care", "noted": "usable",
}  # fmt: skip
# From the gravest on.
_GRADES = tuple(_VERDICTS)

# A failure here leaves a vector of the trait that is less clean than asked for, or only monitors.
_ONLY_CARE: frozenset[CheckName] = frozenset({"accuracy", "norm", "agreement", "steering"})
# A warning here is a near miss that the data cannot tell from a pass, or advice on the definition
# whose effect other checks measure.
_ONLY_NOTED: frozenset[CheckName] = frozenset({"accuracy", "definition"})


def judge_vector(checks: Sequence[CheckResult]) -> tuple[VectorVerdict, list[str]]:
    """Return whether a vector can be used, and why.

    `usable` needs every check to pass. `not_usable` follows from a failed check, except that one of
    `accuracy`, `norm` or `agreement` asks for care only: they measure how clean the vector is, and
    whether it is there at all is measured by `chance`. So does one of `steering`: the vector may
    still monitor. A warning asks for care, except that of `accuracy`, which is a near miss, and of
    `definition`, whose effects other checks measure. A warning that the owner accepts asks for
    nothing, and stays among the reasons.

    Args:
        checks: Every check's result.

    Returns:
        The verdict, and one reason for each check that does not pass, the gravest first. Where
        steering was not evaluated, a last reason says so, and does not change the verdict.
    """
    if not checks:
        return "not_usable", ["no check was evaluated"]
    graded = grade_checks(checks)
    reasons = [f"{check.name}: {check.summary}" for _, check in graded]
    reasons = reasons or [f"all {len(checks)} checks pass"]
    if all(check.name != "steering" for check in checks):
        reasons.append(STEERING_NOT_EVALUATED)
    gravest = graded[0][0] if graded else "noted"
    return _VERDICTS[gravest], reasons


def grade_checks(checks: Iterable[CheckResult]) -> list[tuple[Grade, CheckResult]]:
    """Return the checks that do not pass with what follows for the vector, the gravest first.

    A check that passes because its owner accepts the warning is noted.
    """
    graded = [
        (_grade(check), check) for check in checks if check.verdict != "pass" or check.accepted
    ]
    return sorted(graded, key=lambda each: _GRADES.index(each[0]))


def _grade(check: CheckResult) -> Grade:
    if check.verdict == "fail":
        return "grave" if check.name in _ONLY_CARE else "fatal"
    return "noted" if check.accepted or check.name in _ONLY_NOTED else "mild"
