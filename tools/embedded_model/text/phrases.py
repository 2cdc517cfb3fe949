"""Phrase rules: they expand to the instructions, questions and sentences of the training text.

A rule is a name, "=", and alternatives separated by "|"; a line that starts with a space continues
the rule above. `<name>` in an alternative is expanded in turn; `<T>` is replaced by the topic. An
alternative that is listed twice is drawn twice as often.
"""

from __future__ import annotations

import random
import re

from tools.embedded_model.text.answer_phrases import ANSWER_RULES
from tools.embedded_model.text.instruction_phrases import INSTRUCTION_RULES
from tools.embedded_model.text.question_phrases import QUESTION_RULES
from tools.embedded_model.text.topics import made_up_word

__all__ = ["RULES", "expand"]


def _parse(text: str) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for line in re.sub(r"\n +", " ", text.strip()).splitlines():
        if line:
            name, _, body = line.partition(" = ")
            rules[name] = body.split(" | ")
    return rules


RULES: dict[str, list[str]] = _parse("\n".join((INSTRUCTION_RULES, QUESTION_RULES, ANSWER_RULES)))
_SYMBOL = re.compile(r"<([a-z_0-9]+)>")


def expand(rng: random.Random, text: str, **given: str) -> str:
    """Replace every `<name>` in `text` by one of its alternatives, or by the given text."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in given:
            return given[name]
        if name == "made":
            return made_up_word(rng)
        return _SYMBOL.sub(replacement, rng.choice(RULES[name]))

    return _SYMBOL.sub(replacement, text)
