"""Questions that do not leave the trait open: they name it, are yes/no, or repeat another."""

import json
import re
from collections.abc import Iterator

from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.finding import Finding
from traitvec_core.validation.lint.subject import Subject, shared_families
from traitvec_core.validation.lint.text import content_families, family, sentences, words
from traitvec_core.validation.question_topics import near_duplicates

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
        for first, second in near_duplicates(questions):
            if not is_english or _shares_topic(first, second):
                yield _duplicate(f"{key}[{questions.index(second)}]", first)
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


def _duplicate(place: str, other: str) -> Finding:
    return Finding(
        place, "near_duplicate_questions", "warning",
        f"asks nearly the same as {json.dumps(_clip(other), ensure_ascii=False)}; the two are"
        " near-duplicates and are held out together",
        "Replace one by another topic.",
    )  # fmt: skip


def _shares_topic(first: str, second: str) -> bool:
    """Whether two English questions share most words, and not only a frame or a rare word."""
    own, other = content_families(first).keys(), content_families(second).keys()
    if own == other:
        return True
    # "What is the best way to learn guitar?" and "… to learn about wine?" share a frame.
    paired = enumerate(zip(words(first), words(second), strict=False))
    n_common = next((i for i, (one, two) in paired if one != two), 0)
    tails = [content_families(" ".join(words(text)[n_common:])) for text in (first, second)]
    shares_end = not tails[0].keys().isdisjoint(tails[1])
    is_long = min(len(own), len(other)) >= _LEAST_TO_COMPARE
    return (
        is_long and shares_end and 2 * len(own & other) >= _LEAST_SHARED * (len(own) + len(other))
    )


def _not_held_out(definition: TraitDefinition) -> Iterator[Finding]:
    """Eval questions with the same words as a question; a frame that two share is no topic."""
    asked = {question: set(content_families(question)) for question in definition.questions}
    for index, question in enumerate(definition.eval_questions):
        # The same text twice is a warning of `parse_definition`.
        if question in asked:
            continue
        own = set(content_families(question))
        same = [
            other for other, theirs in asked.items() if own == theirs and len(own) >= _LEAST_WORDS
        ]
        if same:
            yield Finding(
                f"eval_questions[{index}]", "eval_question_not_new", "warning",
                f"asks nearly the same as {json.dumps(_clip(same[0]), ensure_ascii=False)} in"
                " questions, so steering is reported on what it was chosen on",
                "Use other topics in eval_questions.",
            )  # fmt: skip


def _clip(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
