"""Who answers for an experiment."""

import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Owner"]

_TEAM = re.compile(r"team:\w[\w .-]*")
# As Dagster reads it, which refuses to load a definition with any other owner.
_ADDRESS = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}\b")


def _checked(owner: str) -> str:
    if not _TEAM.fullmatch(owner) and not _ADDRESS.fullmatch(owner):
        raise ValueError(
            "is not an owner; write an e-mail address such as ada@example.org, or a team such as"
            " team:interp"
        )
    return owner


Owner = Annotated[str, AfterValidator(_checked)]
"""An e-mail address, or `team:` and a name. A `ValueError` says so."""
