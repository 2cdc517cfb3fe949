"""What a definition is about, as its own texts say it."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.lint.text import (
    content_families,
    has_negation,
    is_english,
    sentences,
    shares_family,
)

__all__ = ["REPLY_WORDS", "Subject", "asked_families", "shared_families", "subject_of"]

# "**sycophantic**", as the rubrics of persona vectors name their trait.
_NAMED_IN_RUBRIC = re.compile(r"(?<!\*)\*\*([^*\n{}]{2,60})\*\*(?!\*)")
# Sentences of a rubric that say how to reply, not what the trait is.
REPLY_WORDS = re.compile(
    r"\b(?:reply|respond|return|output|just the number|whole number|nothing else|anything else"
    r"|refusal if|from 0|0 to 100|0 and 100|between 0|\d+\s*[-–—]\s*\d+|JSON)\b|^\W*(?:a )?score\b",
    re.IGNORECASE,
)  # fmt: skip
_PLACEHOLDER = re.compile(r"\{(?:question|answer)\}")
# What rubrics say of themselves.
_OF_ANY_RUBRIC = """
    rate rates rating scor evaluat judg assess display exhibit show shown clear strong strength
    present absent scale tend tendency start follow focus reflect includ contain refer involv
    conv simp general typic information inform language statement tone way
"""
_OF_RUBRICS = frozenset(_OF_ANY_RUBRIC.split())
_LEAST_PAIRS = 2


@dataclass(frozen=True)
class Subject:
    """What a trait is about; all words as families with one word that stands for each.

    Attributes:
        names: What the trait is called: its name, its labels, the name in the rubric.
        spoken_names: The same as whole names, such as "risk taking"; empty ones left out.
        opposites: What the negative pole is called.
        description: Content words of the description and of the rubric's sentences on the trait.
        telling: Words of the rubric or the description that two or more positive instructions use,
            and that no negative one uses without negating them.
        text: Everything that says what the trait is about, in lower case.
        is_english: By key of the file, whether its texts, taken together, are English.
    """

    names: dict[str, str]
    spoken_names: list[str]
    opposites: dict[str, str]
    description: dict[str, str]
    telling: dict[str, str]
    text: str
    is_english: dict[str, bool]

    def named_in(self, text: str) -> str:
        """Return the first word of a text that names the trait, or nothing."""
        return _first_shared(text, self.names)

    def opposite_in(self, text: str) -> str:
        """Return the first word of a text that names the trait's opposite, or nothing."""
        return _first_shared(text, self.opposites)


def subject_of(definition: TraitDefinition, name: str = "") -> Subject:
    """Return what a definition is about.

    Args:
        definition: The definition.
        name: The trait's name, where the definition has none: that of its folder.
    """
    rubric = definition.eval_prompt
    match = _NAMED_IN_RUBRIC.search(rubric)
    named = match.group(1) if match else ""
    name = re.sub(r"[_-]+", " ", definition.name or name)
    labels = {"positive": definition.positive_label, "negative": definition.negative_label}
    positive, negative = ("" if label == kind else label for kind, label in labels.items())
    scored = " ".join(_on_the_trait(rubric))
    names = content_families(f"{name} {positive} {named}")
    opposites = content_families("" if has_negation(negative) else negative, with_generic=True)
    # "positive: polite, negative: impolite" share nothing; "even words / odd words" shares "words".
    both = set(names) & set(opposites)
    description = {
        key: word
        for key, word in content_families(f"{definition.description} {scored}").items()
        if key not in _OF_RUBRICS
    }
    return Subject(
        spoken_names=[text for text in (name, positive, named) if content_families(text)],
        names={key: word for key, word in names.items() if key not in both},
        opposites={key: word for key, word in opposites.items() if key not in both},
        description=description,
        telling=_telling(definition, description),
        text=f"{name} {positive} {negative} {definition.description} {scored}".lower(),
        is_english={
            **{
                key: is_english(text for pair in pairs for text in (pair.pos, pair.neg))
                for key, pairs in definition.all_pairs.items()
            },
            "questions": is_english(definition.questions),
            "eval_questions": is_english(definition.eval_questions),
            "eval_prompt": is_english([_PLACEHOLDER.sub(" ", rubric)]),
        },
    )


def shared_families(families: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the families of the first that the second has too, in order."""
    others = list(others)
    return [key for key in families if any(shares_family(key, other) for other in others)]


def asked_families(text: str) -> set[str]:
    """Return the families of the content words in a text's sentences that negate nothing."""
    return {
        key
        for sentence in sentences(text)
        if not has_negation(sentence)
        for key in content_families(sentence)
    }


def _first_shared(text: str, names: dict[str, str]) -> str:
    families = content_families(text, with_generic=True)
    return next((families[key] for key in shared_families(families, names)), "")


def _on_the_trait(rubric: str) -> list[str]:
    return [
        sentence
        for sentence in sentences(rubric)
        if not REPLY_WORDS.search(sentence) and not _PLACEHOLDER.search(sentence)
    ]


def _telling(definition: TraitDefinition, description: dict[str, str]) -> dict[str, str]:
    """The description's words that only positive instructions ask for, and two or more do."""
    counts: Counter[str] = Counter()
    asked_by_negative: set[str] = set()
    for pair in definition.instruction:
        counts.update(content_families(pair.pos).keys())
        asked_by_negative |= asked_families(pair.neg)
    return {
        key: word
        for key, word in description.items()
        if counts[key] >= _LEAST_PAIRS and key not in asked_by_negative
    }
