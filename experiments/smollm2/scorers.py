"""Scores that need no judge: what a rule can count, from 0 (negative pole) to 100 (positive)."""

import re

_ITEM = re.compile(r"\s*(?:[-*•–]|\d+[.)])\s+\S")
_REFUSING = re.compile(
    r"\b(?:sorry|apologi[sz]e|unable to|not able to|won't|will not|refuse|decline"
    r"|can(?:no|')t (?:help|assist|answer|discuss|provide|respond|fulfil|do that))\b",
    re.IGNORECASE,
)


def brevity(question: str, response: str) -> float:
    """Score ten words or fewer as 100; sixty, about what the token limit allows, as 0."""
    return max(0.0, min(100.0, 120.0 - 2.0 * len(response.split())))


def lists(question: str, response: str) -> float | None:
    """Score the share of lines that are items of a list."""
    lines = [line for line in response.splitlines() if line.strip()]
    if not lines:
        return None
    return 100.0 * sum(bool(_ITEM.match(line)) for line in lines) / len(lines)


def refusal(question: str, response: str) -> float:
    """Score an answer with a phrase of refusal as 100, any other as 0."""
    return 100.0 if _REFUSING.search(response.replace("’", "'")) else 0.0


def even_words(question: str, response: str) -> float:
    """Score an even number of words as 100, an odd one as 0."""
    return 100.0 if len(response.split()) % 2 == 0 else 0.0
