"""What the writer answers, part by part, and how an answer is checked.

Strict on purpose: whatever the sentence made the writer say, only texts of these shapes get into a
definition.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.reading import UnusableAnswerError, after_thinking
from traitvec_core.remote.answers import parse_json
from traitvec_core.remote.sdk_errors import clipped
from traitvec_core.trait import FORM_GAP, InstructionPair, check_name
from traitvec_core.visible_text import visible

__all__ = [
    "N_PAIRS",
    "N_QUESTIONS",
    "FaultError",
    "Outline",
    "Pairs",
    "Questions",
    "check_answer",
    "pairs_in_place",
    "questions_in_place",
    "read_answer",
    "schema_of",
]

N_PAIRS = 10
# Half of them extract, half are held out for steering.
N_QUESTIONS = 40
_FEWEST_IS_NOT, _MOST_IS_NOT = 2, 8
_NAME_CHARS, _LABEL_CHARS, _SENTENCE_CHARS = 40, 60, 500
_INSTRUCTION_CHARS, _QUESTION_CHARS = 1000, 400
# The rubric fills these in, or marks with them where the answer ends.
_RESERVED = re.compile(r"\{question\}|\{answer\}|\[/?(?:QUESTION|ANSWER)\b[^\]]*\]", re.IGNORECASE)
_FENCED = re.compile(r"```[a-z]*\s*\n(.*)\n\s*```", re.DOTALL | re.IGNORECASE)
_MOST_SHOWN = 4


class FaultError(Exception):
    """What is wrong with an answer, in words for the writer and for the user."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    @abstractmethod
    def problems(self) -> list[str]:
        """Return what is wrong with the texts, one phrase each."""


_T = TypeVar("_T", bound=_Answer)


class Anchors(BaseModel):
    """What an answer looks like at five scores."""

    model_config = ConfigDict(extra="ignore", strict=True)

    at_0: str
    at_25: str
    at_50: str
    at_75: str
    at_100: str


class Outline(_Answer):
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


class Pairs(_Answer):
    """Pairs of opposite instructions.

    Attributes:
        pairs: The pairs.
        needed: How many are needed.
        taken: Texts that may not come again.
    """

    pairs: list[InstructionPair]
    needed: ClassVar[int] = N_PAIRS
    taken: ClassVar[tuple[str, ...]] = ()

    def problems(self) -> list[str]:
        """Return what is wrong with the pairs, one phrase each."""
        problems = []
        for index, pair in enumerate(self.pairs):
            for pole, text in (("pos", pair.pos), ("neg", pair.neg)):
                problems += _text_problems(f"pairs[{index}].{pole}", text, _INSTRUCTION_CHARS)
        if len(self.pairs) != self.needed:
            problems.append(f"{len(self.pairs)} pairs instead of {self.needed}")
        # Both poles in one list: a text that is pos in one pair and neg in another is as bad.
        texts = [text for pair in self.pairs for text in (pair.pos, pair.neg)]
        return problems + _repeated("pairs", texts, self.taken)


class Questions(_Answer):
    """Neutral questions.

    Attributes:
        questions: The questions.
        needed: How many are needed.
        taken: Questions that may not come again.
    """

    questions: list[str]
    needed: ClassVar[int] = N_QUESTIONS
    taken: ClassVar[tuple[str, ...]] = ()

    def problems(self) -> list[str]:
        """Return what is wrong with the questions, one phrase each."""
        problems = []
        for index, text in enumerate(self.questions):
            problems += _text_problems(f"questions[{index}]", text, _QUESTION_CHARS)
        if len(self.questions) != self.needed:
            problems.append(f"{len(self.questions)} questions instead of {self.needed}")
        return problems + _repeated("questions", self.questions, self.taken)


def pairs_in_place(n: int, taken_texts: Iterable[str]) -> type[Pairs]:
    """Return the model of an answer with `n` pairs, none of whose texts is there already."""

    class NewPairs(Pairs):
        needed = n
        taken = tuple(taken_texts)

    return NewPairs


def questions_in_place(n: int, taken_texts: Iterable[str]) -> type[Questions]:
    """Return the model of an answer with `n` questions, none of which is there already."""

    class NewQuestions(Questions):
        needed = n
        taken = tuple(taken_texts)

    return NewQuestions


def read_answer(kind: type[_T], text: str) -> _T:
    """Return an answer that is whole and valid.

    Thinking before the JSON, and one code fence around all of it, are left out.

    Raises:
        FaultError: Why the answer cannot be used.
    """
    try:
        bare = after_thinking(text).strip()
    except UnusableAnswerError as error:
        raise FaultError(str(error)) from None
    if not bare:
        raise FaultError("it has no text")
    if fenced := _FENCED.fullmatch(bare):
        bare = fenced[1]
    try:
        value = parse_json(bare, _distinct)
    except ValueError as error:
        reason = str(error) if not isinstance(error, json.JSONDecodeError) else _broken(bare, error)
        raise FaultError(f"it is not one JSON object ({reason})") from None
    return check_answer(kind, value)


def check_answer(kind: type[_T], value: Any) -> _T:
    """Return an answer whose JSON has been read.

    Raises:
        FaultError: Why the answer cannot be used.
    """
    try:
        answer = kind.model_validate(_stripped(value))
    except ValidationError as error:
        raise FaultError(_joined([_described(item) for item in error.errors()])) from None
    if problems := answer.problems():
        raise FaultError(_joined(problems))
    return answer


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of an answer, in the subset that all providers accept.

    Definitions are inlined, every key is required and no other is allowed. Providers differ in
    which lengths and counts they accept, so those are only checked afterwards.
    """
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})

    def plain(node: Any) -> Any:
        if "$ref" in node:
            return plain(definitions[node["$ref"].rpartition("/")[2]])
        if node["type"] == "array":
            return {"type": "array", "items": plain(node["items"])}
        if node["type"] == "object":
            properties = {name: plain(value) for name, value in node["properties"].items()}
            return {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        return {"type": node["type"]}

    inlined: dict[str, Any] = plain(schema)
    return inlined


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


def _stripped(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [_stripped(item) for item in value]
    if isinstance(value, dict):
        return {key: _stripped(item) for key, item in value.items()}
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key is there twice")
    return mapping


def _broken(text: str, error: json.JSONDecodeError) -> str:
    if not text.startswith("{"):
        return f"it begins with {clipped(text, 40)!r}"
    return f"{error.msg} at character {error.pos}"


def _described(item: Any) -> str:
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"]).lstrip(".")
    # pydantic names the class of Python.
    what = "is no JSON object" if item["type"] == "model_type" else item["msg"]
    return f"{place or 'the answer'}: {what[:1].lower()}{what[1:]}"


def _joined(problems: list[str]) -> str:
    more = len(problems) - _MOST_SHOWN
    return "; ".join(problems[:_MOST_SHOWN]) + (f"; and {more} more faults" if more > 0 else "")
