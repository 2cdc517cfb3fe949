"""Changes of style that keep what a response says, by rule."""

import re
import unicodedata
from collections.abc import Callable, Mapping

__all__ = ["STYLES", "restyle"]

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_LIST_MARK = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")


def restyle(text: str, style: str) -> str:
    """Return a response after a change of style, one of `STYLES`."""
    return STYLES[style](text)


def _bullets(text: str) -> str:
    sentences = (_LIST_MARK.sub("", part).strip() for part in _SENTENCE_END.split(text))
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def _without_punctuation(text: str) -> str:
    # An apostrophe or a hyphen inside a word would leave two words.
    kept = (
        "" if unicodedata.category(char).startswith("P") else char
        for char in re.sub(r"(?<=\w)[-–—/](?=\w)", " ", text)
    )
    lines = (" ".join(line.split()) for line in "".join(kept).splitlines())
    return "\n".join(line for line in lines if line)


STYLES: Mapping[str, Callable[[str], str]] = {
    "lower_case": str.lower,
    "bullets": _bullets,
    "no_punctuation": _without_punctuation,
}
"""Every change by name: all lower case; each sentence as a bullet point; no punctuation."""
