"""The token positions at which activations are read."""

import re

__all__ = ["check_position", "first_tokens"]

_NAMED = ("response_mean", "prompt_avg", "prompt_last")
_FIRST = re.compile(r"response_first_([1-9]\d{0,5})")


def check_position(name: str) -> None:
    """Raise if there is no position of this name.

    Raises:
        ValueError: Lists the available positions.
    """
    if name not in _NAMED and not _FIRST.fullmatch(name):
        raise ValueError(
            f"unknown position {name!r}; available: response_mean, response_first_<k> (such as"
            " response_first_5), prompt_avg, prompt_last"
        )


def first_tokens(name: str) -> int | None:
    """Return the k of `response_first_<k>`; None for other positions."""
    match = _FIRST.fullmatch(name)
    return int(match[1]) if match else None
