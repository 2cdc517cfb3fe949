"""One verdict on one vector, from the checks."""

from collections.abc import Sequence

from traitvec_core.experiment import CheckName
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.validation.checks.result import CheckResult

__all__ = ["judge_vector"]

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
    `definition`, whose effects other checks measure.

    Args:
        checks: Every check's result.

    Returns:
        The verdict, and one reason for each check that does not pass, the gravest first. Where
        steering was not evaluated, a last reason says so, and does not change the verdict.
    """
    if not checks:
        return "not_usable", ["no check was evaluated"]
    fatal: list[str] = []
    grave: list[str] = []
    mild: list[str] = []
    noted: list[str] = []
    for check in checks:
        reason = f"{check.name}: {check.summary}"
        if check.verdict == "fail":
            (grave if check.name in _ONLY_CARE else fatal).append(reason)
        elif check.verdict == "warn":
            (noted if check.name in _ONLY_NOTED else mild).append(reason)
    reasons = [*fatal, *grave, *mild, *noted] or [f"all {len(checks)} checks pass"]
    if all(check.name != "steering" for check in checks):
        reasons.append("steering was not evaluated, so nothing shows that the vector steers")
    verdict: VectorVerdict = "usable"
    if fatal:
        verdict = "not_usable"
    elif grave or mild:
        verdict = "with_care"
    return verdict, reasons
