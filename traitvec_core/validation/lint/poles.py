"""Whether the two poles of a pair are opposites, and whether every pair is a new one."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from traitvec_core.trait import InstructionPair, TraitDefinition
from traitvec_core.validation.finding import Finding
from traitvec_core.validation.lint.repeats import first_repeated
from traitvec_core.validation.lint.subject import Subject, asked_families, shared_families
from traitvec_core.validation.lint.text import (
    content_families,
    family,
    has_negation,
    join_quoted,
    sentences,
    words,
)

__all__ = ["find_weak_poles"]

# Words that change the degree and not the direction.
_OF_DEGREE = """
    extreme extremely really truly quite highly slight slightly somewhat bit little especially
    completely totally absolutely always often sometimes usually please just simply
"""
_DEGREE = frozenset(_OF_DEGREE.split())
# A pole that says only this asks for what a model does anyway.
_OF_ANY_ASSISTANT = """
    helpful help helping assistant normal normally usual usually regular standard default
    natural naturally ordinary best ability task following given language chatbot act behave
    good useful information
"""
_NEUTRAL = frozenset(map(family, _OF_ANY_ASSISTANT.split()))
_LEAST_SHARED_TO_REPEAT = 0.75
_LINKING = frozenset(["and", "or", "the", "an", "of", "to", "in", "i", "wherever", "you", "can"])
# "Be honest", "show great honesty", "with a pinch of humor"; what is meant stands last.
_REQUEST = re.compile(
    r"\b(?:be|act|sound|stay|remain|become|seem|show|express|display|add|with) (?P<what>"
    r"(?:(?:an?|the|your|some|very|more|as|so|great|full|a pinch of|a bit of|\w+ly) ){0,2}[\w-]+)",
    re.IGNORECASE,
)
# "non-judgmental", "anti-ceremonial"
_OPPOSING = re.compile(r"(?:non|anti|un)-", re.IGNORECASE)
# Not negations, but a sentence with one of these asks for less of the trait.
_AGAINST = re.compile(
    r"\b(?:against|over|beyond|ignor\w+|declin\w+|refus\w+|prevent\w*|dismiss\w*|disregard\w*"
    r"|skeptic\w*|minim\w+|zero|hid(?:e|ing)|conceal\w*|instead|from|remov\w+|oppos\w+|overcom\w+"
    r"|question|even (?:if|when))\b",
    re.IGNORECASE,
)
# So many more words of other pairs' pos, and of the rubric, in neg than in pos: see docs.
_CLEAR_VOTE = 8
_LEAST_WORDS_TO_REPEAT = 3
_OTHER_WORDS = "Ask for the trait in other words than the rubric scores by."
# "Use words such as perhaps and maybe."
_LISTED = re.compile(
    r"\b(?:words|phrases|expressions)\b,? (?:such as|like)\b([^.;!?]*)", re.IGNORECASE
)
_LEAST_COPIED = 3
_LEAST_COPIED_SHARE = 0.35


def find_weak_poles(definition: TraitDefinition, subject: Subject) -> Iterator[Finding]:
    """Yield pairs whose poles are not opposites, that repeat others, or that copy the rubric."""
    for key, pairs in definition.all_pairs.items():
        if subject.is_english[key]:
            yield from _repeated(key, pairs)
    # An opening asks for nothing: these rules are about instructions.
    if not subject.is_english["instruction"]:
        return
    all_votes = _all_votes(definition.instruction)
    for index, pair in enumerate(definition.instruction):
        place = f"instruction[{index}]"
        yield from _opposites(place, pair, subject, _votes(pair, all_votes, subject))
    if subject.is_english["eval_prompt"]:
        yield from _copied(definition.instruction, subject)


def _opposites(
    place: str, pair: InstructionPair, subject: Subject, votes: Mapping[str, int]
) -> Iterator[Finding]:
    """At most one finding: the first that applies."""
    pos, neg = pair.pos, pair.neg
    of_pos, of_neg = _direction(pos), _direction(neg)
    negates_pos, negates_neg = has_negation(pos), has_negation(neg)
    if of_pos == of_neg and negates_pos == negates_neg:
        yield Finding(
            place, "same_meaning", "warning",
            "pos and neg differ only in small words or in degree, so they ask for the same",
            "Let neg ask for the opposite, with the words that carry the trait exchanged.",
        )  # fmt: skip
    elif (_asks(neg, subject.names) and _names_opposite(pos, subject)) or (
        _evidence(pos, neg, votes) <= 0
        and _evidence(neg, pos, votes) - _evidence(pos, neg, votes) >= _CLEAR_VOTE
    ):
        yield Finding(
            place, "swapped_poles", "warning",
            "neg has the words of the rubric and of the other pairs' pos, and pos those of their"
            " neg",
            "Exchange pos and neg, if they are swapped.",
        )  # fmt: skip
    elif _asks(neg, subject.names) and not subject.opposite_in(neg):
        yield Finding(
            f"{place}.neg", "same_direction", "warning",
            f'neg asks for the trait, too ("{_asks(neg, subject.names)}")',
            "Let neg ask for the opposite of the trait.",
        )  # fmt: skip
    elif _is_neutral(neg, subject):
        yield Finding(
            f"{place}.neg", "neutral_pole", "warning",
            "neg asks for nothing in particular, so the vector also holds that an instruction was"
            " given",
            "Say what the opposite of the trait looks like, in as many words as pos.",
        )  # fmt: skip
    elif of_neg and negates_neg and not negates_pos and _is_within(of_neg, of_pos):
        yield _negated(f"{place}.neg", "pos")
    elif of_pos and negates_pos and not negates_neg and _is_within(of_pos, of_neg):
        yield _negated(f"{place}.pos", "neg")


def _all_votes(pairs: list[InstructionPair]) -> Counter[str]:
    """How much more often all pairs ask for a word in pos than in neg."""
    votes: Counter[str] = Counter()
    for pair in pairs:
        votes.update(asked_families(pair.pos))
        votes.subtract(asked_families(pair.neg))
    return votes


def _votes(pair: InstructionPair, all_votes: Mapping[str, int], subject: Subject) -> dict[str, int]:
    """How much more often other pairs ask for a pair's words in pos than in neg.

    The rubric counts once.
    """
    of_pos, of_neg = asked_families(pair.pos), asked_families(pair.neg)
    return {
        key: (key in subject.description) + all_votes[key] - (key in of_pos) + (key in of_neg)
        for key in of_pos | of_neg
    }


def _evidence(text: str, other: str, votes: Mapping[str, int]) -> int:
    return sum(votes[key] for key in asked_families(text) - asked_families(other))


def _negated(place: str, other: str) -> Finding:
    return Finding(
        place, "only_negated", "hint",
        f"it only negates {other}: both texts have the word that matters, and small models follow"
        " negations poorly",
        "Say what to do instead of what to leave out.",
    )  # fmt: skip


def _direction(text: str) -> list[str]:
    """The words of a pole that can carry a direction, in order."""
    return [family(word) for word in _direction_words(text)]


def _direction_words(text: str) -> list[str]:
    content = content_families(text, with_generic=True).values()
    return [word for word in content if word not in _DEGREE and not has_negation(word)]


def _is_within(families: list[str], others: list[str]) -> bool:
    return len(shared_families(families, others)) == len(families)


def _asks(text: str, names: dict[str, str]) -> str:
    """Return the trait's name in a sentence that asks for it and negates nothing: "Be honest"."""
    for sentence in sentences(text):
        if has_negation(sentence) or _AGAINST.search(sentence):
            continue
        for match in _REQUEST.finditer(sentence):
            what: str = match.group("what")
            if _OPPOSING.match(what.rsplit(maxsplit=1)[-1]):
                continue
            if shared_families(content_families(what, with_generic=True), names):
                return what.rsplit(maxsplit=1)[-1]
    return ""


def _names_opposite(pos: str, subject: Subject) -> bool:
    if subject.opposite_in(pos):
        return True
    naming = [sentence for sentence in sentences(pos) if subject.named_in(sentence)]
    return bool(naming) and all(map(has_negation, naming))


def _is_neutral(neg: str, subject: Subject) -> bool:
    if subject.opposite_in(neg) or has_negation(neg):
        return False
    families = {key for key, word in content_families(neg).items() if word not in _DEGREE}
    return families <= _NEUTRAL and not shared_families(families, subject.description)


def _repeated(key: str, pairs: list[InstructionPair]) -> Iterator[Finding]:
    contents = [set(_all_families(pair)) for pair in pairs]
    repeated = first_repeated(contents, _LEAST_SHARED_TO_REPEAT, _LEAST_WORDS_TO_REPEAT)
    for index, earlier in repeated.items():
        yield Finding(
            f"{key}[{index}]", "near_duplicate_pairs", "warning",
            f"says nearly the same as {key}[{earlier}]: two copies are one sample of the"
            " trait, and make the held-out figures too good",
            "Replace one by a pair that is worded differently: a role, a rule, a tone, an"
            " imagined situation.",
        )  # fmt: skip


def _all_families(pair: InstructionPair) -> list[str]:
    both = f"{pair.pos} {pair.neg}"
    return list(content_families(both, with_generic=True))


def _copied(pairs: list[InstructionPair], subject: Subject) -> Iterator[Finding]:
    scored = [key for key in subject.description if not shared_families([key], subject.names)]
    for index, pair in enumerate(pairs):
        families = content_families(pair.pos)
        of_both = shared_families(families, asked_families(pair.neg))
        shared = [key for key in shared_families(families, scored) if key not in of_both]
        if listed := _listed_words(pair.pos, subject):
            yield Finding(
                f"instruction[{index}].pos", "rubric_words", "hint",
                f"dictates words that the rubric counts ({join_quoted(listed)}): the judge then"
                " scores the words and not the trait",
                _OTHER_WORDS,
            )  # fmt: skip
        elif len(shared) >= _LEAST_COPIED and len(shared) >= _LEAST_COPIED_SHARE * len(families):
            yield Finding(
                f"instruction[{index}].pos", "rubric_words", "hint",
                f"repeats the rubric's words {join_quoted([families[key] for key in shared], 4)}:"
                " the judge then scores whether the instruction's words come back",
                _OTHER_WORDS,
            )  # fmt: skip


def _listed_words(text: str, subject: Subject) -> list[str]:
    listed = [word for part in _LISTED.findall(text) for word in words(part)]
    scored = set(words(subject.text))
    ignored = _LINKING | set(subject.names.values())
    return [word for word in dict.fromkeys(listed) if word in scored - ignored]
