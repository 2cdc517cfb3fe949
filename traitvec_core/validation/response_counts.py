"""Counts of responses that deserve a look: truncated, empty, looping, echoing, refusing."""

import re

import pandas as pd

from traitvec_core.judging.reading import ANSWERED_REFUSAL

__all__ = [
    "count_contents",
    "count_responses",
    "has_leaked_thinking",
    "is_echoing",
    "is_looping",
    "is_refusing",
    "which_refuse",
]

# A text loops when its end is the same piece at least this often, over at least so many characters;
# a list, a rule of dashes or a chorus is shorter.
_LEAST_REPEATS = 3
_LEAST_LOOP_CHARS = 60
# Only the end of a long text is examined.
_TAIL_CHARS = 6000

# Words and, where a script has no spaces, its characters.
_WORD = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+")
# This many words in a row are a repetition; fewer occur in any good answer.
_ECHO_WORDS = 8
_LEAST_WORDS = 4

# A refusal comes first.
_OPENING_CHARS = 240
_WHAT_IS_REFUSED = (
    r"(?:help|assist|answer|discuss|share|provide|give|offer|comply|fulfil|support|engage|respond"
    r"|talk|go into|take on|do (?:that|this)|continue)"
)
_REFUSAL = re.compile(
    r"(?:\bcan['’]?t|\bcan ?not|\bwon['’]?t|\bwill not|\b(?:not|n['’]t) (?:be )?able to|\bunable to"
    r"|\bnot sure (?:that )?i can|\brather not|\bmust not|\bnot allowed to|\bnot going to)"
    rf" (?:\w+ )?(?:be able to )?{_WHAT_IS_REFUSED}\b"
    r"|\bi (?:\w+ ){0,3}(?:decline|refuse|turn down|say no)\b"
    r"|\bnot something (?:that )?i can\b",
    re.IGNORECASE,
)
_THINKING_MARK = re.compile(
    r"</?(?:seed:)?think(?:ing)?>|\[/?THINK\]|<\|/?think\|>|<\|channel\|>", re.IGNORECASE
)


def count_responses(table: pd.DataFrame) -> dict[str, int]:
    """Count responses with formal problems.

    Args:
        table: As `generate_responses` returns it.

    Returns:
        How many are `truncated` at the token limit, `empty` (only white space), `looping` at their
        end, `identical` to an earlier one of the same pole (empty ones are not counted again), and
        how many contain `thinking`.
    """
    texts = table["response"].fillna("").astype(str).str.strip()
    filled = table[texts != ""].assign(response=texts)
    thinking = table["thinking"].fillna("") if "thinking" in table else None
    return {
        "truncated": int((table["finish_reason"] == "length").sum()),
        "empty": int((texts == "").sum()),
        "looping": sum(is_looping(text) for text in texts),
        "identical": int(filled.duplicated(["pole", "response"]).sum()),
        "thinking": 0 if thinking is None else int((thinking != "").sum()),
    }


def count_contents(table: pd.DataFrame) -> dict[str, int]:
    """Count responses whose content is something other than an answer.

    Args:
        table: With `question`, `instruction` and `response`. With a column `judge_reason`,
            responses that the judge called refusals count too.

    Returns:
        How many are `echoed` (they repeat the instruction or the question), `refusing`, and how
        many contain `leaked_thinking`. These are not necessarily wrong: refusing may be the trait.
    """
    rows = table.fillna({"response": ""})
    texts = [str(text) for text in rows["response"]]
    return {
        "echoed": sum(
            is_echoing(text, str(question)) or is_echoing(text, str(instruction))
            for text, question, instruction in zip(
                texts, rows["question"], rows["instruction"], strict=True
            )
        ),
        "refusing": sum(which_refuse(rows)),
        "leaked_thinking": sum(map(has_leaked_thinking, texts)),
    }


def which_refuse(table: pd.DataFrame) -> list[bool]:
    """Return whether each response refuses to answer, by the judge or by its first words."""
    reasons = table["judge_reason"] if "judge_reason" in table else [""] * len(table)
    return [
        reason == ANSWERED_REFUSAL or is_refusing(str(text))
        for reason, text in zip(reasons, table["response"], strict=True)
    ]


def is_echoing(text: str, source: str) -> bool:
    """Whether a text repeats eight words of another in a row, or all of a shorter one from four."""
    words = _WORD.findall(source.lower())
    if len(words) < _LEAST_WORDS:
        return False
    length = min(_ECHO_WORDS, len(words))
    haystack = f" {' '.join(_WORD.findall(text.lower()))} "
    return any(
        f" {' '.join(words[start : start + length])} " in haystack
        for start in range(len(words) - length + 1)
    )


def is_refusing(text: str) -> bool:
    """Whether a text begins by declining to answer, in the usual English phrases."""
    return _REFUSAL.search(text.lstrip()[:_OPENING_CHARS]) is not None


def has_leaked_thinking(text: str) -> bool:
    """Whether a response contains marks of thinking, which should have been removed."""
    return _THINKING_MARK.search(text) is not None


def is_looping(text: str) -> bool:
    """Whether a text ends by repeating the same piece; the last repetition may be cut off."""
    reverse = text.rstrip()[-_TAIL_CHARS:][::-1]
    # With period p the end agrees with itself p characters earlier, over `agrees[p]` characters.
    agrees = _agreements(reverse, len(reverse) // _LEAST_REPEATS)
    return any(
        agreed + p >= _LEAST_LOOP_CHARS and agreed + p >= _LEAST_REPEATS * p
        for p, agreed in enumerate(agrees)
        if p
    )


def _agreements(text: str, last: int) -> list[int]:
    """For i up to `last`, how many characters from i on match the text's beginning (Z array)."""
    n = len(text)
    lengths = [0] * (last + 1)
    left = right = 0
    for i in range(1, last + 1):
        length = min(right - i, lengths[i - left]) if i < right else 0
        while i + length < n and text[length] == text[i + length]:
            length += 1
        lengths[i] = length
        if i + length > right:
            left, right = i, i + length
    return lengths
