"""Warnings of checks that an experiment's owner accepts."""

from typing import Annotated

from pydantic import AfterValidator

from traitvec_core.errors import TraitvecError
from traitvec_core.settings.thresholds import CheckName
from traitvec_core.trait import check_name

__all__ = ["AcceptedWarnings"]

_LONGEST_REASON = 300
# Its warning says that no result could have passed. A claim needs its null.
_NEVER: CheckName = "chance"


def _checked(accepted: dict[str, dict[CheckName, str]]) -> dict[str, dict[CheckName, str]]:
    """Check the names of traits, and that every reason is there and may be given."""
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
    return accepted


AcceptedWarnings = Annotated[dict[str, dict[CheckName, str]], AfterValidator(_checked)]
"""The owner's reasons by trait and check. A `ValueError` says what cannot be accepted."""
