"""How a trait is elicited: by instructions, or by scenarios; and the words for either."""

import re
from typing import Literal

__all__ = ["PAIRS_KEY", "QUESTION_GAP", "ElicitedBy", "in_words_of", "other_way"]

ElicitedBy = Literal["instructions", "scenarios"]
"""An instruction asks for the trait. A scenario's opening begins a text that shows the trait, and
the model goes on writing it."""

# The definition's key with the pairs of texts.
PAIRS_KEY: dict[ElicitedBy, str] = {"instructions": "instruction", "scenarios": "scenarios"}
# An opening with it is a text by itself; without it, the question comes before the opening.
QUESTION_GAP = "{question}"

# Whole words, and not as a part of a name such as `instruction_following`.
_WORDS = (
    (r"(?<![\w-])([Aa])n instruction pair", r"\1 scenario pair"),
    (r"(?<![\w-])instruction pair", "scenario pair"),
    (r"(?<![\w-])Instruction(s?)(?![\w-])", r"Opening\1"),
    (r"(?<![\w-])instruction(s?)(?![\w-])", r"opening\1"),
)


def in_words_of(elicited_by: ElicitedBy, sentence: str) -> str:
    """Return one of our own sentences on instructions in the words of the way of eliciting.

    For scenarios, an instruction is an opening, and an instruction pair a scenario pair. Texts that
    a user or a model wrote must not be passed.
    """
    if elicited_by == "instructions":
        return sentence
    for pattern, words in _WORDS:
        sentence = re.sub(pattern, words, sentence)
    return sentence


def other_way(elicited_by: ElicitedBy) -> ElicitedBy:
    """Return the other way of eliciting a trait."""
    return "instructions" if elicited_by == "scenarios" else "scenarios"
