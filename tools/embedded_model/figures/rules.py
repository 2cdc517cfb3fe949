"""Plain rules that classify answers without any model.

They fit the sentences of the embedded model's grammar, and similar polite English; they are not
classifiers for text in general.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence

__all__ = ["TRAIT_RULES", "is_hedged", "is_long", "is_refusal", "mean", "rule_rate", "sentences"]

_REFUSAL = re.compile(
    r"""
    \b(?:can(?:'t|not)|won't|will\ not|(?:am|'m)\ (?:un|not\ )able\ to|not\ be\ able\ to
       |be\ unable\ to|rather\ not|don't\ think\ I\ can|not\ sure\ that\ I\ can)\b
       [^.]{0,30}?\b(?:help|assist|answer|discuss|talk|give|share|provide|go\ into|take\ on)\b
    | \b(?:have\ to|must|may\ have\ to|might\ have\ to|would|should)\ (?:\w+,?\ ){0,3}?
       (?:decline|refuse|say\ no|turn\ down|pass)\b
    | \bdecline\ to\ answer\b | \bI\ cannot\ give\b | \bis\ not\ something\ (?:that\ )?I\ can\b
    | \bI\ decline\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HEDGE = re.compile(
    r"""
    \b(?:perhaps|maybe|possibly|probably|might|may\ (?:be|have|not)|could\ be|may\ well|seems?
      |I\ think|I\ believe|I\ suppose|I\ would\ guess|my\ guess|a\ guess|to\ guess
      |not\ (?:entirely\ |quite\ )?(?:sure|certain)|unsure|uncertain|hard\ to\ (?:say|be\ sure)
      |as\ far\ as\ I|mistaken|don't\ (?:really\ )?know|if\ I\ remember|disagree)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """Split a text into sentences, after a full stop, exclamation mark or question mark."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def is_refusal(text: str) -> bool:
    """Whether one of the first two sentences declines to help."""
    return any(_REFUSAL.search(sentence) for sentence in sentences(text)[:2])


def is_hedged(text: str) -> bool:
    """Whether at least half of the sentences contain a hedge ("perhaps", "I think", …)."""
    parts = sentences(text)
    return bool(parts) and 2 * sum(bool(_HEDGE.search(part)) for part in parts) >= len(parts)


def is_long(text: str) -> bool:
    """Whether the text has four or more sentences, or forty or more words."""
    return len(sentences(text)) >= 4 or len(text.split()) >= 40


TRAIT_RULES: dict[str, Callable[[str], bool]] = {
    "refusal": is_refusal,
    "uncertainty": is_hedged,
    "verbosity": is_long,
}


def rule_rate(trait: str, texts: Sequence[str]) -> float:
    """Share of the texts that show the trait by its rule, to three decimals."""
    return round(sum(TRAIT_RULES[trait](text) for text in texts) / max(1, len(texts)), 3)


def mean(values: Sequence[float]) -> float:
    """Mean to two decimals, as the figures are written."""
    return round(statistics.fmean(values), 2)
