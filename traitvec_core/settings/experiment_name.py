"""The name of another experiment, as a setting."""

from typing import Annotated

from pydantic import AfterValidator

from traitvec_core.errors import TraitvecError
from traitvec_core.trait import check_name

__all__ = ["ExperimentName"]


def _check(name: str) -> str:
    try:
        return check_name("experiment", name)
    except TraitvecError as error:
        raise ValueError(str(error)) from None


ExperimentName = Annotated[str, AfterValidator(_check)]
"""A name that can be a folder below `experiments/`."""
