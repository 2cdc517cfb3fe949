"""The token ids of a generated response."""

from dataclasses import dataclass

__all__ = ["ResponseIds"]


@dataclass(frozen=True)
class ResponseIds:
    """The tokens that a model generated after its prompt.

    Attributes:
        ids: Token ids, thinking first, without the end token.
        n_thinking: How many of them come before the answer: the visible thinking, its marks, and
            the white space after them. They are context, and no part of the response.
    """

    ids: tuple[int, ...]
    n_thinking: int = 0
