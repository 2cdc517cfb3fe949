"""Warnings of checks that an experiment's owner accepts."""

from collections.abc import Mapping

from traitvec_core.errors import TraitvecError
from traitvec_core.settings.thresholds import CheckName
from traitvec_core.trait import check_name

__all__ = ["check_accepted"]

_LONGEST_REASON = 300
# Its warning says that no result could have passed. A claim needs its null.
_NEVER: CheckName = "chance"


def check_accepted(accepted: Mapping[str, Mapping[CheckName, str]]) -> None:
    """Check the traits, checks and reasons of `accepted`.

    Raises:
        ValueError: If a name cannot be a trait's, a reason is missing or too long, or the check is
            one whose warning cannot be accepted.
    """
    for trait, reasons in accepted.items():
        try:
            check_name("trait", trait)
        except TraitvecError as error:
            raise ValueError(str(error)) from None
        if _NEVER in reasons:
            raise ValueError(
                f"a warning of {_NEVER} cannot be accepted: without that check nothing shows that"
                f" the vector of {trait} is more than noise; add instruction pairs"
            )
        for check, reason in reasons.items():
            if not reason.strip():
                raise ValueError(
                    f"{trait}.{check} has no reason; say in a few words why it is fine"
                )
            if len(reason) > _LONGEST_REASON:
                raise ValueError(
                    f"{trait}.{check} is {len(reason)} characters long; the limit is"
                    f" {_LONGEST_REASON}"
                )
