"""What the writer answers, part by part, and what is wrong with an answer.

Strict on purpose: whatever the sentence made the writer say, only texts of these shapes get into a
definition.
"""

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from types import new_class
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from traitvec_core.errors import TraitvecError
from traitvec_core.remote.sdk_errors import clipped
from traitvec_core.trait import FORM_GAP, InstructionPair, check_name
from traitvec_core.visible_text import visible

__all__ = [
    "N_PAIRS",
    "N_QUESTIONS",
    "N_SCENARIOS",
    "Answer",
    "Outline",
    "Pairs",
    "Questions",
    "Scenarios",
    "Texts",
    "exactly",
]

N_PAIRS = N_SCENARIOS = 10
# Half of them extract, half are held out for steering.
N_QUESTIONS = 40
_FEWEST_IS_NOT, _MOST_IS_NOT = 2, 8
_NAME_CHARS, _LABEL_CHARS, _SENTENCE_CHARS = 40, 60, 500
_INSTRUCTION_CHARS, _QUESTION_CHARS = 1000, 400
# The rubric fills these in, or marks with them where the answer ends.
_RESERVED = re.compile(r"\{question\}|\{answer\}|\[/?(?:QUESTION|ANSWER)\b[^\]]*\]", re.IGNORECASE)
# "I decided to […]. I wrote:" leaves a gap that nothing fills in.
_PLACEHOLDER = re.compile(r"[\[\]{}<>…]|\.\.\.|__")


class Answer(BaseModel):
    """One answer; only those without problems are used."""

    model_config = ConfigDict(extra="ignore", strict=True)

    @abstractmethod
    def problems(self) -> list[str]:
        """Return what is wrong with the texts, one phrase each."""


class Anchors(BaseModel):
    """What an answer looks like at five scores."""

    model_config = ConfigDict(extra="ignore", strict=True)

    at_0: str
    at_25: str
    at_50: str
    at_75: str
    at_100: str


class Outline(Answer):
    """What the trait is, and what it is not."""

    name: str
    description: str
    positive_label: str
    negative_label: str
    anchors: Anchors
    is_not: list[str]

    def problems(self) -> list[str]:
        """Return what is wrong with the texts, one phrase each."""
        problems = [
            *_text_problems("name", self.name, _NAME_CHARS),
            *_text_problems("description", self.description, _SENTENCE_CHARS),
            *_text_problems("positive_label", self.positive_label, _LABEL_CHARS),
            *_text_problems("negative_label", self.negative_label, _LABEL_CHARS),
        ]
        anchors = self.anchors.model_dump()
        for key, text in anchors.items():
            problems += _text_problems(f"anchors.{key}", text, _SENTENCE_CHARS)
        for index, text in enumerate(self.is_not):
            problems += _text_problems(f"is_not[{index}]", text, _SENTENCE_CHARS)
        if problems:
            return problems
        try:
            check_name("trait", self.name)
        except TraitvecError as error:
            problems.append(str(error))
        if _plain(self.positive_label) == _plain(self.negative_label):
            problems.append("positive_label and negative_label are the same; name opposites")
        problems += _repeated("anchors", list(anchors.values()))
        if not _FEWEST_IS_NOT <= len(self.is_not) <= _MOST_IS_NOT:
            problems.append(f"is_not has {len(self.is_not)} entries; three to five are needed")
        return problems + _repeated("is_not", self.is_not)


class Texts(Answer):
    """A list of pairs or of questions, of which a certain number is needed.

    Attributes:
        needed: How many are needed.
        taken: Texts that may not come again.
    """

    needed: ClassVar[int]
    taken: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def entries(self) -> Sequence[InstructionPair] | Sequence[str]:
        """The pairs or questions, in order."""


class Pairs(Texts):
    """Pairs of opposite instructions."""

    pairs: list[InstructionPair]
    needed: ClassVar[int] = N_PAIRS

    @property
    def entries(self) -> list[InstructionPair]:
        """The pairs, in order."""
        return self.pairs

    def problems(self) -> list[str]:
        """Return what is wrong with the pairs, one phrase each."""
        return _pair_problems("pairs", self.pairs, self.needed, self.taken)


class Scenarios(Texts):
    """Pairs of openings."""

    scenarios: list[InstructionPair]
    needed: ClassVar[int] = N_SCENARIOS

    @property
    def entries(self) -> list[InstructionPair]:
        """The pairs, in order."""
        return self.scenarios

    def problems(self) -> list[str]:
        """Return what is wrong with the pairs, one phrase each."""
        problems = _pair_problems("scenarios", self.scenarios, self.needed, self.taken)
        return problems or [
            f"scenarios[{index}].{pole} contains {gap[0]!r}, as if something had to be filled in"
            for index, pair in enumerate(self.scenarios)
            for pole, text in (("pos", pair.pos), ("neg", pair.neg))
            if (gap := _PLACEHOLDER.search(text))
        ]


class Questions(Texts):
    """Neutral questions."""

    questions: list[str]
    needed: ClassVar[int] = N_QUESTIONS

    @property
    def entries(self) -> list[str]:
        """The questions, in order."""
        return self.questions

    def problems(self) -> list[str]:
        """Return what is wrong with the questions, one phrase each."""
        problems = []
        for index, text in enumerate(self.questions):
            problems += _text_problems(f"questions[{index}]", text, _QUESTION_CHARS)
        if len(self.questions) != self.needed:
            problems.append(f"{len(self.questions)} questions instead of {self.needed}")
        return problems + _repeated("questions", self.questions, self.taken)


_T = TypeVar("_T", bound=Texts)


def exactly(kind: type[_T], n: int, taken_texts: Iterable[str]) -> type[_T]:
    """Return the model of an answer with `n` entries, none of whose texts is there already."""
    own = {"needed": n, "taken": tuple(taken_texts), "__module__": kind.__module__}
    model: type[_T] = new_class(f"New{kind.__name__}", (kind,), exec_body=lambda ns: ns.update(own))
    return model


def _pair_problems(
    key: str, pairs: Sequence[InstructionPair], needed: int, taken: Sequence[str]
) -> list[str]:
    problems = []
    for index, pair in enumerate(pairs):
        for pole, text in (("pos", pair.pos), ("neg", pair.neg)):
            problems += _text_problems(f"{key}[{index}].{pole}", text, _INSTRUCTION_CHARS)
    if len(pairs) != needed:
        problems.append(f"{len(pairs)} {key} instead of {needed}")
    # Both poles in one list: a text that is pos in one pair and neg in another is as bad.
    texts = [text for pair in pairs for text in (pair.pos, pair.neg)]
    return problems + _repeated(key, texts, taken)


def _text_problems(place: str, text: str, most_chars: int) -> list[str]:
    if not text:
        return [f"{place} is empty"]
    if len(text) > most_chars:
        return [f"{place} has {len(text)} characters; at most {most_chars} are allowed"]
    if visible(text) != text:
        return [f"{place} contains a line break or an invisible character"]
    if reserved := _RESERVED.search(text):
        return [f"{place} contains {reserved[0]}, which is reserved"]
    if FORM_GAP in text or "\N{REPLACEMENT CHARACTER}" in text or not any(map(str.isalnum, text)):
        return [f"{place} is no text ({clipped(text, 40)!r})"]
    return []


def _repeated(place: str, texts: list[str], taken: Iterable[str] = ()) -> list[str]:
    before = {_plain(text) for text in taken}
    first: dict[str, str] = {}
    for text in texts:
        if _plain(text) in before:
            return [f"{place} contains a text that is already there ({clipped(text, 60)!r})"]
        if _plain(text) in first:
            return [f"{place} contains the same text twice ({clipped(text, 60)!r})"]
        first[_plain(text)] = text
    return []


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
