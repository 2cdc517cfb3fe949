"""Questions that do not leave the trait open: they name it, are yes/no, or repeat another."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.finding import Finding
from traitvec_core.validation.lint.subject import Subject, shared_families
from traitvec_core.validation.lint.text import base_form, content_families, family, sentences, words
from traitvec_core.validation.question_topics import clear_duplicates

__all__ = ["find_weak_questions"]

# Without "Don't you think …?", which states an opinion.
_AUXILIARY = re.compile(
    r"^(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|shall|may|might"
    r"|must)\s",
    re.IGNORECASE,
)
# "Can you explain …?" asks for an explanation; "Would you agree?" for a yes or no.
_REQUEST = re.compile(
    r"^(?:(?:can|could)\s+(?:you|we|i|someone)\s+(?!speak|feel|be\b|see|think|understand|believe|ever)"
    r"|(?:will|would)\s+you\s+(?:explain|describe|tell|give|help|write|show|suggest|mind|please)"
    r"|do you have (?:any|some|an?) )",
    re.IGNORECASE,
)
# "Tell me a joke." for humor; the word alone may have another meaning in a question.
_LONGEST_ENDING = 2
_SHORTEST_NAME = 3
_IMPERATIVE = re.compile(
    r"^(?:please\s+)?(?:(?:can|could|will|would)\s+you\s+(?:please\s+)?)?"
    r"(?:tell|write|give|show|share|compose|invent|come up with)\b",
    re.IGNORECASE,
)
# Measured on 120 definitions with 40 questions each; below, a frame is enough.
_LEAST_SHARED = 0.8
_LEAST_TO_COMPARE = 3
# One content word is not enough to say that two questions ask the same.
_LEAST_WORDS = 2
_CHOICE = re.compile(r"\bor\b", re.IGNORECASE)


def find_weak_questions(definition: TraitDefinition, subject: Subject) -> Iterator[Finding]:
    """Yield questions that name the trait, that are yes/no, and near-duplicates."""
    for key in ("questions", "eval_questions"):
        questions: list[str] = getattr(definition, key)
        is_english = subject.is_english[key]
        if is_english:
            for index, question in enumerate(questions):
                yield from _one(f"{key}[{index}]", question, subject)
        yield from _repeated(key, questions, is_english=is_english)
    if subject.is_english["questions"] and subject.is_english["eval_questions"]:
        yield from _not_held_out(definition)


def _one(place: str, question: str, subject: Subject) -> Iterator[Finding]:
    families = content_families(question)
    named = _naming(question, subject)
    if not named and _IMPERATIVE.match(sentences(question)[-1]):
        named = [families[key] for key in shared_families(families, subject.telling)]
    if named:
        yield Finding(
            place, "asks_for_trait", "hint",
            f'asks for the trait ("{named[0]}"), which draws it into both poles',
            "Ask about something else, which can be answered with and without the trait.",
        )  # fmt: skip
    if _is_yes_no(question):
        yield Finding(
            place, "yes_no_question", "hint",
            "can be answered with yes or no alone, which leaves little room for the trait",
            "Ask how, what or why, or ask for an explanation.",
        )  # fmt: skip


def _naming(question: str, subject: Subject) -> list[str]:
    """The words of a question that are the trait's name or its nearest forms.

    Not all of the family: to react is no mention of "reactive", nor a method of "methodical".
    """
    of_question = words(question)
    for name in subject.spoken_names:
        matches = [
            next((word for word in of_question if _is_form_of(word, part)), "")
            for part in words(name)
        ]
        if matches and all(matches):
            return [" ".join(matches)]
    return []


def _is_form_of(word: str, name: str) -> bool:
    shorter, longer = sorted((word, name), key=len)
    if family(word) != family(name) or len(shorter) < _SHORTEST_NAME:
        return False
    return (
        longer.startswith(shorter[:-1])
        and len(longer.removesuffix("ness")) - len(shorter) <= _LONGEST_ENDING
    )


def _is_yes_no(question: str) -> bool:
    """Whether an English question is one sentence that asks for a yes or no.

    After an opinion ("I think that …. Would you agree?") there is room for more.
    """
    parts = sentences(question)
    if len(parts) != 1 or not parts[0].endswith("?"):
        return False
    only = parts[0]
    return bool(_AUXILIARY.match(only)) and not _REQUEST.match(only) and not _CHOICE.search(only)


def _repeated(key: str, questions: list[str], *, is_english: bool) -> Iterator[Finding]:
    """Questions that ask nearly the same as an earlier one, which is named."""
    earlier_of: dict[str, str] = {}
    for group in clear_duplicates(questions):
        asked = [_Asked.read(question) for question in group]
        for index, question in enumerate(group):
            for other in range(index):
                if not is_english or asked[other].shares_topic(asked[index]):
                    earlier_of[question] = group[other]
                    break
    for index, question in enumerate(questions):
        # Each text once: the same text twice is a warning of `parse_definition`.
        if earlier := earlier_of.pop(question, ""):
            yield Finding(
                f"{key}[{index}]", "near_duplicate_questions", "warning",
                f"asks nearly the same as {json.dumps(_clip(earlier), ensure_ascii=False)}; the two"
                " are near-duplicates and are held out together",
                "Replace one by another topic.",
            )  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """The words of an English question, in order, and its content words without inflection."""

    words: list[str]
    content: frozenset[str]

    @classmethod
    def read(cls, question: str) -> "_Asked":
        return cls(words(question), _uninflected(question))

    def shares_topic(self, other: "_Asked") -> bool:
        """Whether both share most words, and not only a frame or a rare word."""
        if self.content == other.content:
            return True
        least = min(len(self.content), len(other.content))
        n_shared = len(self.content & other.content)
        if least < _LEAST_TO_COMPARE or 2 * n_shared < _LEAST_SHARED * (
            len(self.content) + len(other.content)
        ):
            return False
        # "What is the best way to learn guitar?" and "… to learn about wine?" share a frame.
        paired = enumerate(zip(self.words, other.words, strict=False))
        n_common = next((i for i, (one, two) in paired if one != two), 0)
        own, theirs = (_uninflected(" ".join(each.words[n_common:])) for each in (self, other))
        return not own.isdisjoint(theirs)


def _uninflected(question: str) -> frozenset[str]:
    """Return the content words of an English question as base forms.

    Not as families: "policing" and "policy" are of one, and ask about different things.
    """
    return frozenset(map(base_form, content_families(question).values()))


def _not_held_out(definition: TraitDefinition) -> Iterator[Finding]:
    """Eval questions with the same words as a question; a frame that two share is no topic."""
    asked: dict[frozenset[str], str] = {}
    for question in definition.questions:
        asked.setdefault(frozenset(content_families(question)), question)
    exact = set(definition.questions)
    for index, question in enumerate(definition.eval_questions):
        # The same text twice is a warning of `parse_definition`.
        if question in exact:
            continue
        own = frozenset(content_families(question))
        if len(own) >= _LEAST_WORDS and own in asked:
            yield Finding(
                f"eval_questions[{index}]", "eval_question_not_new", "warning",
                f"asks nearly the same as {json.dumps(_clip(asked[own]), ensure_ascii=False)} in"
                " questions, so steering is reported on what it was chosen on",
                "Use other topics in eval_questions.",
            )  # fmt: skip


def _clip(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
