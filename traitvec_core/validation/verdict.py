"""The verdict on a vector, from its checks."""

from collections.abc import Sequence

from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.validation.checks.result import CheckResult

__all__ = ["judge_vector"]


def judge_vector(checks: Sequence[CheckResult]) -> tuple[VectorVerdict, list[str]]:
    """Return whether a vector can be used, and why, the gravest reason first.

    A failed check makes it `not_usable`, a warning `with_care`. Without any check nothing is
    known, so the vector is not usable.

    Args:
        checks: The results of all checks on the vector.
    """
    if not checks:
        return "not_usable", ["no check was evaluated"]
    failed = [f"{check.name}: {check.summary}" for check in checks if check.verdict == "fail"]
    warned = [f"{check.name}: {check.summary}" for check in checks if check.verdict == "warn"]
    reasons = failed + warned or [f"all {len(checks)} checks pass"]
    return "not_usable" if failed else "with_care" if warned else "usable", reasons
