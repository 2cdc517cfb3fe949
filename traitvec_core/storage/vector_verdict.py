"""How a vector's verdict is shown wherever a vector is handed out, and when it warns."""

import warnings
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecWarning
from traitvec_core.visible_text import one_line

if TYPE_CHECKING:
    from traitvec_core.storage.manifests import Recommendation, VectorVerdict

__all__ = [
    "NOT_JUDGED",
    "NOT_RECOMMENDED",
    "VERDICT_NAMES",
    "describe_verdict",
    "verdict_on",
    "warn_if_not_usable",
    "warn_if_stale",
]

NOT_JUDGED = "not judged yet: materialize validation_report"
NOT_RECOMMENDED = "not the recommended vector: no verdict"

VERDICT_NAMES: dict["VectorVerdict | None", str] = {
    "usable": "usable",
    "with_care": "with care",
    "not_usable": "NOT USABLE",
    None: "no verdict",
}
"""Each verdict as readers see it."""

# A warning should stay one line that can be read at a glance; the report has every reason.
_MOST_CHARACTERS = 160


def verdict_on(
    recommended: "Recommendation | None", method: str, layer: int
) -> "tuple[VectorVerdict | None, tuple[str, ...]]":
    """Return the verdict on one vector of a trait, and its reasons.

    Args:
        recommended: The trait's recommendation, from `TraitFolder.recommended`. Only the
            recommended vector has a verdict.
        method: The vector's method.
        layer: Its layer.
    """
    if recommended is None or recommended.place != (method, layer):
        return None, (NOT_RECOMMENDED,)
    return recommended.verdict, tuple(recommended.reasons)


def describe_verdict(verdict: "VectorVerdict | None", reasons: Sequence[str]) -> str:
    """Return a verdict with its first reason, and as many more as fit in a short line.

    Args:
        verdict: The verdict; None while there is none, and then the reasons say why.
        reasons: The gravest first.
    """
    lines = [one_line(reason).rstrip(".") for reason in reasons]
    lengths = accumulate(len(line) + 2 for line in lines)
    n_shown = max(1, sum(length <= _MOST_CHARACTERS for length in lengths))
    shown = lines[:n_shown]
    if len(lines) > n_shown:
        shown.append(f"and {len(lines) - n_shown} more")
    text = "; ".join(shown)
    if verdict is None:
        return text or VERDICT_NAMES[None]
    return f"{VERDICT_NAMES[verdict]}: {text}" if text else VERDICT_NAMES[verdict]


def warn_if_not_usable(
    what: str, verdict: "VectorVerdict | None", reasons: Sequence[str], *, stacklevel: int = 3
) -> None:
    """Issue a `TraitvecWarning` of one line about a vector that is not usable; else do nothing.

    Args:
        what: The vector, such as `refusal (mean_diff_layer16)`.
        verdict: Its verdict.
        reasons: The gravest first.
        stacklevel: As for `warnings.warn`; 3 names the caller of the function that calls this.
    """
    if verdict == "not_usable":
        line = f"{what} is {describe_verdict(verdict, reasons)}"
        warnings.warn(line, TraitvecWarning, stacklevel=stacklevel)


def warn_if_stale(what: str, stale: str | None, *, stacklevel: int = 3) -> None:
    """Issue a `TraitvecWarning` of one line about a vector that is out of date; else do nothing.

    Args:
        what: The vector, such as `refusal (mean_diff_layer16)`.
        stale: Why, from `staleness_of_vector`; None if it is up to date.
        stacklevel: As for `warnings.warn`; 3 names the caller of the function that calls this.
    """
    if stale is not None:
        warnings.warn(f"{what}: {stale}", TraitvecWarning, stacklevel=stacklevel)
