"""What the two poles of a pair differ in beside the trait: length, format, register, language."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from traitvec_core.trait import InstructionPair, TraitDefinition
from traitvec_core.validation.finding import Finding
from traitvec_core.validation.lint.subject import Subject
from traitvec_core.validation.lint.text import has_negation, join_quoted, sentences, words
from traitvec_core.validation.stop_words import ENGLISH_STOP_WORDS

__all__ = ["find_differences"]

# One pole may be this many times as long as the other.
_MOST_UNEQUAL = 2.0
_LEAST_CHARS_APART = 40
# All positives together may be this many times as long as all negatives (geometric mean).
_MOST_UNEQUAL_ON_AVERAGE = 1.3
_LEAST_PAIRS = 3
_LEAST_ON_ONE_SIDE = 0.8

_TEXT = (
    r"(?:answers?|repl(?:y|ies)|responses?|texts?|sentences?|explanations?|paragraphs?|messages?"
    r"|points?|information)"
)
_NUMBER = r"(?:an?|one|two|three|four|five|six|eight|ten|\d+|few|a few|a single|single)"
_FULL = r"(?:detailed|thorough|comprehensive|extensive|exhaustive)"
# "short, friendly answers"
_AND = r"(?:,? (?:and |but )?\w+)?"
_LENGTHS = {
    "short": re.compile(
        rf"\b(?:brief{_AND} {_TEXT}|briefly|brevity|concise|concisely|succinct|succinctly|terse"
        rf"|tersely|short(?:er|est)?{_AND} {_TEXT}|(?:keep|be|stay)[^.;]{{0,30}} (?:brief|short)"
        rf"|(?:in|with|at most|just|only|no more than|fewer than|less than|under) {_NUMBER}"
        r" (?:\w+ )?(?:words?|sentences?|lines?)|one-(?:word|line|sentence))\b",
        re.IGNORECASE,
    ),
    "long": re.compile(
        r"\b(?:lengthy|verbose|at (?:great )?length|in (?:(?:great|full|more|rich|much) )?detail"
        rf"|elaborate on|in[- ]depth|{_FULL}{_AND} {_TEXT}|long(?:er|est)?{_AND} {_TEXT}"
        r"|(?:explain|answer|respond|reply|describe)\w* (?:\w+ ){0,3}(?:thoroughly|comprehensively"
        rf"|extensively|exhaustively)|(?:more|very) {_FULL}|be {_FULL}(?! in your (?!{_TEXT}))"
        rf"|essays?|(?:several|many|multiple) (?:paragraphs|sentences)|at least {_NUMBER}"
        r" (?:words|sentences|paragraphs))\b",
        re.IGNORECASE,
    ),
}
_FORMATS = {
    "a list": re.compile(
        r"\b(?:bullet(?:s|ed)?|bullet[- ]points?|numbered|(?:as|in|with) an? (?:\w+ )?list)\b",
        re.IGNORECASE,
    ),
    "a table": re.compile(r"\b(?:as|in|with) an? (?:\w+ )?table\b", re.IGNORECASE),
    "markup": re.compile(
        r"\b(?:JSON|XML|YAML|HTML|LaTeX|markdown|headings?|headers|boldface|in bold|italics"
        r"|code blocks?)\b",
        re.IGNORECASE,
    ),
    "upper or lower case": re.compile(
        r"\b(?:upper[- ]?case|lower[- ]?case|capital letters|all caps|capitali[sz]ed)\b",
        re.IGNORECASE,
    ),
    "emojis": re.compile(r"\b(?:emojis?|emoticons?)\b", re.IGNORECASE),
    "exclamation marks": re.compile(r"\bexclamation (?:marks?|points?)\b", re.IGNORECASE),
    "verse": re.compile(r"\b(?:in rhymes?|rhyming|as a poem|in verse|haiku)\b", re.IGNORECASE),
}  # fmt: skip
_TONE = (
    r"(?:,? (?:and |but )?\w+)? (?:tones?|language|styles?|manners?|registers?|voices?|terms|words"
    r"|expressions?|speech|wording)"
)
_REGISTERS = {
    "formal": re.compile(
        rf"\b(?:formally|(?:formal|academic|scholarly|professional){_TONE}|(?:be|stay|sound|remain)"
        r" (?:\w+ and )?formal)\b(?! about)",
        re.IGNORECASE,
    ),
    "casual": re.compile(
        rf"\b(?:informally|casually|slang|(?:informal|casual|colloquial|chatty){_TONE}"
        r"|(?:be|stay|sound|remain) (?:\w+ and )?(?:informal|casual))\b(?! about)",
        re.IGNORECASE,
    ),
    "for laymen": re.compile(
        r"\b(?:to a child|year[- ]olds?|for (?:a )?(?:beginners?|child|children|laym[ae]n)"
        r"|(?:simple|everyday) (?:terms|language|words)|plain (?:language|English))\b",
        re.IGNORECASE,
    ),
    "for experts": re.compile(
        r"\b(?:(?:for|to) (?:an )?experts?|technical (?:terms?|language)|jargon)\b", re.IGNORECASE
    ),
}
_OF_REGISTERS = re.compile(r"formal|casual|slang|academic|jargon", re.IGNORECASE)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
# Within one line: `\s*` would read the same blank lines again from each of them.
_LIST_ITEM = re.compile(r"^[^\S\n]*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
# Four letters or more: shorter ones are mostly abbreviations.
_SHOUTED = re.compile(r"\b[A-Z]{4,}\b")
_LEAST_SHOUTED = 2
_LEAST_EXCLAMATIONS = 2
# German, French, Spanish, Italian, Portuguese, Dutch; without what is also an English word.
_OF_OTHER_LANGUAGES = """
    der das und nicht ist sie ein eine mit auf für dein deine immer le la les des une et est pas
    vous que dans pour votre toujours el los las una por con tu su siempre il che di non per sempre
    uma não você het een en niet je van met altijd
"""
_FOREIGN = frozenset(_OF_OTHER_LANGUAGES.split())
_LEAST_FOREIGN = 2
_LEAST_LETTERS = 10


def find_differences(definition: TraitDefinition, subject: Subject) -> Iterator[Finding]:
    """Yield what tells the poles of the pairs apart beside the trait."""
    for key, pairs in definition.all_pairs.items():
        yield from _lengths_of_texts(key, pairs)
        for index, pair in enumerate(pairs):
            yield from _language(f"{key}[{index}]", pair.pos, pair.neg)
            yield from _layout(f"{key}[{index}]", pair.pos, pair.neg)
    # An opening asks for nothing: these rules are about instructions.
    if subject.is_english["instruction"]:
        for index, pair in enumerate(definition.instruction):
            yield from _asked_formats(f"instruction[{index}]", pair, subject)
        if "length" not in definition.about:
            yield from _asked_lengths(definition.instruction, subject)
        yield from _registers(definition.instruction, subject)


def _lengths_of_texts(key: str, pairs: Sequence[InstructionPair]) -> Iterator[Finding]:
    ratios = [len(pair.pos.strip()) / len(pair.neg.strip()) for pair in pairs]
    if not ratios:
        return
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    longer, other = ("positive", "negative") if mean > 1 else ("negative", "positive")
    n_longer = sum((ratio > 1) == (mean > 1) for ratio in ratios)
    factor = max(mean, 1 / mean)
    if (
        len(ratios) >= _LEAST_PAIRS
        and factor >= _MOST_UNEQUAL_ON_AVERAGE
        and n_longer >= _LEAST_ON_ONE_SIDE * len(ratios)
    ):
        yield Finding(
            key,
            "one_pole_longer",
            "warning",
            f"the {longer} text is the longer one in {n_longer} of {len(ratios)} pairs,"
            f" {factor:.1f} times as long as the {other} on average: length tells the poles apart",
            "Word the two poles in parallel, with nearly the same length.",
        )
    for index, (pair, ratio) in enumerate(zip(pairs, ratios, strict=True)):
        n_pos, n_neg = len(pair.pos.strip()), len(pair.neg.strip())
        if max(ratio, 1 / ratio) >= _MOST_UNEQUAL and abs(n_pos - n_neg) >= _LEAST_CHARS_APART:
            yield Finding(
                f"{key}[{index}]",
                "unequal_length",
                "hint",
                f"pos has {n_pos} characters and neg {n_neg}",
                "Word the two poles in parallel, with nearly the same length.",
            )


def _language(place: str, pos: str, neg: str) -> Iterator[Finding]:
    scripts = [_share_of_latin(text) for text in (pos, neg)]
    differs = None not in scripts and abs((scripts[0] or 0) - (scripts[1] or 0)) > 0.5
    if not differs:
        n_foreign = sorted(_count_in(text, _FOREIGN) for text in (pos, neg))
        n_english = max(_count_in(text, ENGLISH_STOP_WORDS) for text in (pos, neg))
        differs = n_foreign[0] == 0 and n_foreign[1] >= _LEAST_FOREIGN and n_english > 0
    if differs:
        yield Finding(
            place,
            "language",
            "warning",
            "pos and neg are in different languages, which ends up in the vector",
            "Write both poles in one language.",
        )


def _share_of_latin(text: str) -> float | None:
    letters = [char for char in text if char.isalpha()]
    if len(letters) < _LEAST_LETTERS:
        return None
    return sum(bool(_LATIN.match(char)) for char in letters) / len(letters)


def _count_in(text: str, vocabulary: frozenset[str]) -> int:
    return sum(word in vocabulary for word in words(text))


def _layout(place: str, pos: str, neg: str) -> Iterator[Finding]:
    """How the instruction itself is written, in any language."""
    features = [
        ("is a list", 1, [len(_LIST_ITEM.findall(text)) for text in (pos, neg)]),
        ("has several lines", 1, [text.strip().count("\n") for text in (pos, neg)]),
        ("shouts in capitals", _LEAST_SHOUTED, [len(_SHOUTED.findall(t)) for t in (pos, neg)]),
        ("has exclamation marks", _LEAST_EXCLAMATIONS, [text.count("!") for text in (pos, neg)]),
        ("is in lower case", 1, [int(text.islower()) for text in (pos, neg)]),
        ("contains JSON or code", 1, [text.count("{") for text in (pos, neg)]),
    ]
    names = [
        f"only {'pos' if counts[0] else 'neg'} {name}"
        for name, least, counts in features
        if min(counts) == 0 and max(counts) >= least
    ]
    if names:
        yield _format_finding(place, f"{names[0]}: models answer in the style they are asked in")


def _format_finding(place: str, reason: str) -> Finding:
    return Finding(
        place, "format", "warning", reason,
        "Write both poles in the same format, and ask both for the same one, or neither.",
    )  # fmt: skip


def _asked_formats(place: str, pair: InstructionPair, subject: Subject) -> Iterator[Finding]:
    if reason := _one_sided(pair.pos, pair.neg, subject, _FORMATS):
        yield _format_finding(place, f"{reason}: the format ends up in the vector")


def _asked_lengths(pairs: Sequence[InstructionPair], subject: Subject) -> Iterator[Finding]:
    for index, pair in enumerate(pairs):
        if reason := _one_sided(pair.pos, pair.neg, subject, _LENGTHS):
            yield Finding(
                f"instruction[{index}]", "asked_length", "warning",
                f"{reason}: length ends up in the vector",
                'Ask both poles for the same length, or neither; or the trait is about it: "about":'
                ' ["length"].',
            )  # fmt: skip


def _registers(pairs: Sequence[InstructionPair], subject: Subject) -> Iterator[Finding]:
    reasons = {
        index: reason
        for index, pair in enumerate(pairs)
        if (reason := _one_sided(pair.pos, pair.neg, subject, _REGISTERS))
        # "Follow formal procedures" against "be informal".
        and not all(map(_OF_REGISTERS.search, (pair.pos, pair.neg)))
    }
    # Where most pairs differ so, or the poles ask for opposite registers, that is the trait.
    if 2 * len(reasons) > len(pairs) > 1:
        return
    for index, reason in reasons.items():
        if reason.startswith("only"):
            yield Finding(
                f"instruction[{index}]", "register", "hint",
                f"{reason}: the register may end up in the vector",
                "Ask both poles for the same tone and reader, or neither.",
            )  # fmt: skip


def _one_sided(
    pos: str, neg: str, subject: Subject, patterns: Mapping[str, re.Pattern[str]]
) -> str:
    """Return what one pole asks for and the other does not, quoted; or nothing."""
    if any(pattern.search(subject.text) for pattern in patterns.values()):
        return ""
    # "Avoid jargon" says what not to do; the other pole may do it or not.
    asked = {"pos": _without_negated(pos), "neg": _without_negated(neg)}
    kinds = {
        name: [kind for kind, pattern in patterns.items() if pattern.search(text)]
        for name, text in asked.items()
    }
    if set(kinds["pos"]) == set(kinds["neg"]):
        return ""
    parts = []
    for name, other in (("pos", "neg"), ("neg", "pos")):
        only = [kind for kind in kinds[name] if kind not in kinds[other]]
        matches = [patterns[kind].search(asked[name]) for kind in only]
        quoted = [match.group() for match in matches if match]
        if quoted:
            parts.append(f"{name} says {join_quoted(quoted)}")
    return f"only {parts[0]}" if len(parts) == 1 else " and ".join(parts)


def _without_negated(text: str) -> str:
    return " ".join(sentence for sentence in sentences(text) if not has_negation(sentence))
