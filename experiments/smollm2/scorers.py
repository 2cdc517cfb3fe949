"""Scores that need no judge: what a rule can count. 0 is the negative pole, 100 the positive one."""

import re

_ITEM = re.compile(r"\s*(?:[-*•–]|\d+[.)])\s+\S")
_REFUSING = re.compile(
    r"\b(?:sorry|apologi[sz]e|unable to|not able to|can(?:no|')t (?:help|assist|answer|discuss|provide"
    r"|respond|fulfil|do that)|won't|will not|refuse|decline)\b",
    re.IGNORECASE,
)


def length(question: str, response: str) -> float:
    # Ten words or fewer are short; sixty, about what the limit of tokens allows, are long.
    return max(0.0, min(100.0, 2.0 * (len(response.split()) - 10)))


def lists(question: str, response: str) -> float | None:
    lines = [line for line in response.splitlines() if line.strip()]
    if not lines:
        return None
    return 100.0 * sum(bool(_ITEM.match(line)) for line in lines) / len(lines)


def refusal(question: str, response: str) -> float:
    return 100.0 if _REFUSING.search(response.replace("’", "'")) else 0.0


def even_words(question: str, response: str) -> float:
    return 100.0 if len(response.split()) % 2 == 0 else 0.0
