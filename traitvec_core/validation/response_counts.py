"""What a user should know about responses before they trust them."""

import pandas as pd

__all__ = ["count_responses", "is_looping"]

# A text loops when its end is the same piece at least this often, over at least so many characters;
# a list, a rule of dashes or a chorus is shorter.
_LEAST_REPEATS = 3
_LEAST_LOOP_CHARS = 60
# No more than this of a long text is looked at.
_TAIL_CHARS = 6000


def count_responses(table: pd.DataFrame) -> dict[str, int]:
    """Count responses that are not what they should be.

    Args:
        table: As `generate_responses` returns it.

    Returns:
        How many are `truncated` at the limit of tokens, `empty` (nothing but white space),
        `looping` at their end, `identical` to an earlier one of the same pole (empty ones are not
        counted again), and how many hold `thinking`.
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


def is_looping(text: str) -> bool:
    """Whether a text ends in the same piece over and over, the last one perhaps cut off."""
    reverse = text.rstrip()[-_TAIL_CHARS:][::-1]
    # With period p the end agrees with itself p characters earlier, over `agrees[p]` characters.
    agrees = _agreements(reverse)
    return any(
        agrees[p] + p >= max(_LEAST_REPEATS * p, _LEAST_LOOP_CHARS)
        for p in range(1, len(reverse) // _LEAST_REPEATS + 1)
    )


def _agreements(text: str) -> list[int]:
    """For each i, how many characters from i on are those that the text begins with (Z array)."""
    n = len(text)
    found = [0] * n
    left = right = 0
    for i in range(1, n):
        length = min(right - i, found[i - left]) if i < right else 0
        while i + length < n and text[length] == text[i + length]:
            length += 1
        found[i] = length
        if i + length > right:
            left, right = i, i + length
    return found
