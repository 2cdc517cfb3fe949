"""English text as the linter reads it: words, word families, sentences, negations.

Heuristics for English. Other languages get no finding from a rule that reads words: `is_english`
says for which texts these functions mean anything.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from traitvec_core.validation.stop_words import ENGLISH_STOP_WORDS

__all__ = [
    "base_form", "content_families", "english_share", "family", "has_negation", "is_english",
    "join_quoted", "sentences", "shares_family", "words",
]  # fmt: skip

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?")
# The end of a sentence, or of a line.
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")
_NEGATION = re.compile(
    r"\b(?:not|never|no|none|nothing|nor|without|avoid\w*|refrain\w*|instead of|rather than|hardly"
    r"|free of|stop|lack\w*|less|cannot|neither|omit\w*|exclud\w*|resist\w*|suppress\w*|reject\w*)"
    r"\b|n['’]t\b",
    re.IGNORECASE,
)
# Function words that hardly occur in text of another European language.
_ENGLISH_ONLY = """
    the of and to you your that with what how does would should are it this be not as or from if
    when their them they it's don't you're is was were have has do can will why which who my
    for by than rather any every each
"""
_ENGLISH = frozenset(_ENGLISH_ONLY.split())
_LEAST_ENGLISH = 0.15
# Suffixes from long to short; what is left has at least four letters.
_SUFFIXES = (
    "fulness", "iveness", "ousness", "ational", "istically", "istic", "ically", "ations", "ation",
    "ments", "ment", "ingly", "ness", "ances", "ance", "ancy", "ences", "ence", "ency", "etic",
    "able", "ible", "ously", "ious", "ical", "ists", "isms", "ings", "ions", "ism", "ist", "ion",
    "ous", "ive", "ity", "ies", "ing", "ant", "ent", "ful", "ial", "als", "ed", "ly", "al", "ic",
    "er", "es", "ty", "s", "y", "e",
)  # fmt: skip
_SHORTEST_FAMILY = 4
# A prefix of another family names the same one from this length on: optim, optimis.
_SHORTEST_PREFIX = 5
_SHORTEST_BASE = 3
# The "es" of "crosses" and "boxes", the "ies" of "policies", the "s" of "tires", none of "glass".
_PLURAL = re.compile(r"(?<=..)(?:(?<=ss|sh|ch)es|(?<=[xz])es|ies|(?<![sui])s)$")
_VERB_ENDING = re.compile(r"(?P<stem>\w*?[aeiouy]\w*?)(?P<ending>ing|ied|ed)")
# What nearly every definition speaks of, whatever its trait.
_OF_ANY_TRAIT = """
    answer answers response responses respond reply replies user users question questions person
    people model assistant text texts word words use using make making give giving write writing
    say saying said tell want always way thing things like try trying provide providing ensure
    keep sure trait traits score number sound positive negative pole possible someone prompt
    prompts request requests speak talk don't doesn't isn't can't won't you're you are it's
    that's i'm do does did didn't be
"""
_GENERIC = frozenset(_OF_ANY_TRAIT.split())


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


@lru_cache(maxsize=2**15)
def family(word: str) -> str:
    """Return a word without its usual endings: `honesty` and `honestly` have the same family."""
    stem = word
    while True:
        for suffix in _SUFFIXES:
            if stem.endswith(suffix) and len(stem) - len(suffix) >= _SHORTEST_FAMILY:
                stem = stem.removesuffix(suffix)
                break
        else:
            return stem


@lru_cache(maxsize=2**15)
def base_form(word: str) -> str:
    """Return a word without plural and verb endings: `police` and `policing`, but not `policy`."""
    stem = _PLURAL.sub(lambda match: "y" if match[0] == "ies" else "", word)
    match = _VERB_ENDING.fullmatch(stem)
    if match and len(match["stem"]) >= _SHORTEST_BASE:
        stem = match["stem"] + ("y" if match["ending"] == "ied" else "")
        # "swimming", but not "selling".
        stem = re.sub(r"([bdfgkmnprtv])\1$", r"\1", stem)
    return stem.rstrip("e") if len(stem) > _SHORTEST_BASE else stem


def content_families(text: str, *, with_generic: bool = False) -> dict[str, str]:
    """Return a text's content words by family; the first word of each family stands for it.

    Args:
        text: English text.
        with_generic: Include words that any definition uses, such as "answer" and "user".
    """
    families: dict[str, str] = {}
    for spelled in words(text):
        word = spelled.removesuffix("'s")
        is_generic = word in _GENERIC and not with_generic
        if word not in ENGLISH_STOP_WORDS and not is_generic and len(word) > 2:
            families.setdefault(family(word), word)
    return families


def shares_family(one: str, other: str) -> bool:
    """Whether two families are the same, or one is the longer spelling of the other."""
    if one == other:
        return True
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= _SHORTEST_PREFIX and longer.startswith(shorter)


def sentences(text: str) -> list[str]:
    """Return a text's sentences and lines, without empty ones."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def has_negation(text: str) -> bool:
    """Whether a text negates something, by words such as not, avoid, without, rather than."""
    return bool(_NEGATION.search(text))


def is_english(texts: Iterable[str]) -> bool:
    """Whether texts, taken together, are English: enough of their words are its function words.

    False where there are no words.
    """
    return english_share(texts) >= _LEAST_ENGLISH


def english_share(texts: Iterable[str]) -> float:
    """Return the share of English function words among the words of texts; 0 without words."""
    all_words = [word for text in texts for word in words(text)]
    return sum(word in _ENGLISH for word in all_words) / max(1, len(all_words))


def join_quoted(items: Iterable[str], most: int = 3) -> str:
    """Return `"a", "b" and 2 more`."""
    quoted = [f'"{item}"' for item in items]
    shown = ", ".join(quoted[:most])
    return shown if len(quoted) <= most else f"{shown} and {len(quoted) - most} more"
