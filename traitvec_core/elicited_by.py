"""How a trait is elicited: by instructions, or by scenarios; and the words for either."""

import re
from typing import Literal

__all__ = ["PAIRS_KEY", "QUESTION_GAP", "ElicitedBy", "in_words_of", "other_way"]

ElicitedBy = Literal["instructions", "scenarios"]
"""An instruction asks for the trait. A scenario's opening is the beginning of a text that shows it,
and the model goes on writing."""

# The definition's key with the pairs of texts.
PAIRS_KEY: dict[ElicitedBy, str] = {"instructions": "instruction", "scenarios": "scenarios"}
# An opening with it is a text by itself; without it, the question comes before the opening.
QUESTION_GAP = "{question}"

_WORDS = (
    (r"\ban instruction pair", "a scenario pair"),
    (r"\binstruction pair", "scenario pair"),
    (r"\bInstruction", "Opening"),
    (r"\binstruction", "opening"),
)


def in_words_of(elicited_by: ElicitedBy, text: str) -> str:
    """Return one of our own sentences on instructions, in the words of the way of eliciting.

    Sentences are written for instructions: of scenarios, "instruction" is "opening" and
    "instruction pair" is "scenario pair". Never pass a text of the user or of a model.
    """
    if elicited_by == "instructions":
        return text
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    return text


def other_way(elicited_by: ElicitedBy) -> ElicitedBy:
    """Return the other way of eliciting a trait."""
    return "instructions" if elicited_by == "scenarios" else "scenarios"
