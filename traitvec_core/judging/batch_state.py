"""What a provider tells of a batch."""

from dataclasses import dataclass
from typing import Any

__all__ = ["BatchState", "Result"]


@dataclass(frozen=True)
class BatchState:
    """How far a batch is.

    Attributes:
        done: Requests that were answered, well or not.
        is_ended: Whether there is nothing more to wait for.
        failure: Why the provider did not take it, or stopped it; empty when all is well.
        is_gone: Whether the provider does not know it (any more), or not with this key.
    """

    done: int
    is_ended: bool
    failure: str = ""
    is_gone: bool = False


@dataclass(frozen=True)
class Result:
    """One request's result.

    Attributes:
        key: Its judgement's key.
        data: The answer's body; None when there is none.
        is_expired: Whether the provider never came to it.
    """

    key: str
    data: Any | None
    is_expired: bool = False
