"""Whether a rubric says what is scored, on which scale, and how to reply."""

import re
from collections.abc import Iterator

from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.finding import Finding, Severity
from traitvec_core.validation.lint.subject import REPLY_WORDS, Subject, shared_families
from traitvec_core.validation.lint.text import content_families, has_negation, sentences

__all__ = ["find_weak_rubric"]

_ZERO, _HUNDRED = (re.compile(rf"(?<![\d.]){number}(?![\d.]*\d)") for number in (0, 100))
_MIDDLE = re.compile(
    r"(?<![\d.])(?:[1-9]\d)(?![\d.]*\d)|\b(?:halfway|middle|mid|moderate\w*|medium|partly|mixed)\b",
    re.IGNORECASE,
)
_OTHER_SCALE = re.compile(
    r"(?<![\d.])(?:0|1|one|zero)\s*(?:to|[-–—]|and)\s*(?:3|4|5|7|10|five|seven|ten)(?![\d.]*\d)"
    r"|\bout of (?:3|4|5|7|10|five|ten)\b|\b(?:five|seven|ten|5|7|10)[- ]point scale\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\b(?:yes or no|yes/no|true or false)\b", re.IGNORECASE)
_MORE = re.compile(
    r"\b(?:explain|explanations?|justif\w+|reasoning|rationale|step by step|JSON|XML"
    r"|(?:your|the|a) reasons?|why you|thoughts?|comments?|feedback)\b",
    re.IGNORECASE,
)
# How a sentence starts that asks the judge for something.
_REQUEST = re.compile(
    r"(?:^|\b(?:and|then|please|first|finally|also|you (?:must|should|will)))\W*(?:to )?"
    r"(?:reply|respond|answer with|return|output|give|provide|include|write|add|state|explain"
    r"|justify|think|describe|comment)\b",
    re.IGNORECASE,
)
_NO_MORE = re.compile(r"\b(?:no|not|never|without|don['’]t|nothing|only|just)\b", re.IGNORECASE)
_NUMBER_ONLY = re.compile(
    r"\b(?:nothing else|anything else|only|just|no other|without (?:any )?(?:other|further|more"
    r"|explanation)|single (?:whole )?(?:number|integer)|one (?:whole )?(?:number|integer)"
    r"|no (?:explanation|text|words))\b",
    re.IGNORECASE,
)
# So many words of the instructions in a rubric say that it is of this trait.
_LEAST_ASKED = 3
_REFUSAL = re.compile(r"\bREFUSAL\b")
_ANSWER_LINE = re.compile(r"^.*\{answer\}.*$", re.MULTILINE)
_ENCLOSED = re.compile(r"[\"'“«<>`\[\]*#|=]")


def find_weak_rubric(definition: TraitDefinition, subject: Subject) -> Iterator[Finding]:
    """Yield what a rubric lacks, or asks for beside a number."""
    rubric = definition.eval_prompt
    yield from _scale(rubric)
    yield from _delimiters(rubric)
    if not subject.is_english["eval_prompt"]:
        return
    yield from _reply(rubric)
    yield from _meaning(definition, subject)


def _finding(rule: str, severity: Severity, reason: str, fix: str) -> Finding:
    return Finding("eval_prompt", rule, severity, reason, fix)


def _scale(rubric: str) -> Iterator[Finding]:
    other = _OTHER_SCALE.search(rubric)
    has_ends = bool(_ZERO.search(rubric) and _HUNDRED.search(rubric))
    if other and not has_ends:
        yield _finding(
            "other_scale", "warning",
            f'asks for a score on another scale ("{other.group()}"); scores are read from 0 to 100',
            "Ask for one whole number from 0 to 100.",
        )  # fmt: skip
    elif not has_ends:
        yield _finding(
            "no_scale", "warning",
            "does not name 0 and 100, so the judge does not know the scale",
            "Say what 0 and what 100 mean, and ask for one whole number from 0 to 100.",
        )  # fmt: skip


def _delimiters(rubric: str) -> Iterator[Finding]:
    for line in _ANSWER_LINE.findall(rubric):
        # Doubled braces, as in a template of Python, stay as single ones.
        before, _, after = line.replace("{{answer}}", "{answer}").partition("{answer}")
        is_enclosed = _ENCLOSED.search(before[-1:]) and _ENCLOSED.search(after.strip()[:1])
        if (after.strip(" .") or "{question}" in before) and not is_enclosed:
            yield _finding(
                "undelimited_answer", "warning",
                "does not mark where the answer begins and ends, so a response can pass for a part"
                " of the rubric",
                "Put {answer} on a line of its own, between two markers such as [ANSWER START] and"
                " [ANSWER END].",
            )  # fmt: skip
            return


def _reply(rubric: str) -> Iterator[Finding]:
    for sentence in sentences(rubric):
        more, yes_no = _MORE.search(sentence), _YES_NO.search(sentence)
        match = yes_no or (more if _REQUEST.search(sentence) else None)
        if match and not _NO_MORE.search(sentence[: match.start()]):
            asked = match.group()
            yield _finding(
                "asks_for_more", "warning",
                f'asks for more than a number ("{asked}"), which may not be read as a score',
                "Ask for one whole number from 0 to 100 and nothing else.",
            )  # fmt: skip
            break
    replying = [sentence for sentence in sentences(rubric) if REPLY_WORDS.search(sentence)]
    if not any(_NUMBER_ONLY.search(sentence) for sentence in replying):
        yield _finding(
            "not_only_a_number", "hint",
            "does not ask for a number alone, so the judge may add words",
            "End with: Reply with one whole number from 0 to 100 and nothing else.",
        )  # fmt: skip


def _meaning(definition: TraitDefinition, subject: Subject) -> Iterator[Finding]:
    rubric = definition.eval_prompt
    in_rubric = content_families(rubric, with_generic=True)
    called = {**subject.names, **content_families(definition.description)}
    asked = {
        key
        for pairs in definition.all_pairs.values()
        for pair in pairs
        for key in content_families(pair.pos)
    }
    names_trait = bool(shared_families(in_rubric, called))
    if subject.names and not names_trait and len(shared_families(in_rubric, asked)) < _LEAST_ASKED:
        yield _finding(
            "another_trait", "warning",
            "names neither the trait nor what the instructions ask for; was it copied?",
            "Name the trait, and say in one or two sentences what it is.",
        )  # fmt: skip
    if _REFUSAL.search(rubric) and any("refus" in word for word in subject.names.values()):
        yield _finding(
            "refusal_word", "warning",
            "lets the judge answer REFUSAL for a trait that is about refusing",
            "Leave REFUSAL out of the rubric.",
        )  # fmt: skip
    if _ZERO.search(rubric) and _HUNDRED.search(rubric) and not _MIDDLE.search(rubric):
        yield _finding(
            "few_anchors", "hint",
            "says nothing between 0 and 100; judges with anchors agree better with people",
            "Say what 25, 50 and 75 mean, each by something that can be seen in a response.",
        )  # fmt: skip
    on_trait = [text for text in sentences(rubric) if not REPLY_WORDS.search(text)]
    if not any(map(has_negation, on_trait)):
        yield _finding(
            "no_boundary", "hint",
            "does not say what the trait is not",
            "Add what is easily confused with it: X is not Y.",
        )  # fmt: skip
