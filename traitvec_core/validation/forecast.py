"""Whether steering can work, judged before money is spent on it."""

from pydantic import BaseModel

__all__ = ["Forecast"]


class Forecast(BaseModel):
    """What the activations alone say about steering.

    Attributes:
        is_hopeless: Whether steering with these vectors cannot be expected to work.
        reason: Why, in one clause.
    """

    is_hopeless: bool
    reason: str
