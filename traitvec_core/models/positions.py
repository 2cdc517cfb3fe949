"""Where in a text activations are read."""

import re

__all__ = ["check_position", "first_tokens"]

_NAMED = ("response_mean", "prompt_avg", "prompt_last")
_FIRST = re.compile(r"response_first_([1-9]\d{0,5})")


def check_position(name: str) -> None:
    """Raise if a name stands for no position.

    Raises:
        ValueError: Names those that do.
    """
    if name not in _NAMED and not _FIRST.fullmatch(name):
        raise ValueError(
            f"{name!r} is no position; known: response_mean, response_first_<k> (such as"
            " response_first_5), prompt_avg, prompt_last"
        )


def first_tokens(name: str) -> int | None:
    """Return the k of `response_first_<k>`; None for all others."""
    known = _FIRST.fullmatch(name)
    return int(known[1]) if known else None
