"""Which of many texts repeat an earlier one, without comparing all pairs."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

__all__ = ["first_repeated"]


def first_repeated(
    contents: Sequence[AbstractSet[str]], least_share: float, least_words: int
) -> dict[int, int]:
    """Return, by the index of each text that repeats an earlier one, the first that it repeats.

    Two texts repeat each other when they share `least_words` words or more, and these are at least
    `least_share` of the words of both on average (Dice's coefficient).

    Args:
        contents: The words of each text.
        least_share: Above 0, at most 1.
        least_words: At least 1.
    """
    frequency = Counter(word for content in contents for word in content)
    texts_with: defaultdict[str, list[int]] = defaultdict(list)
    first_same: dict[frozenset[str], int] = {}
    repeated: dict[int, int] = {}
    for index, content in enumerate(contents):
        # So many words are shared with any text that is similar enough, so at least one of the
        # others, rarest first, and one more is in both (prefix filtering).
        shared = max(math.ceil(len(content) * least_share / (2 - least_share) - 1e-9), 1)
        rarest = sorted(content, key=lambda word: (frequency[word], word))
        rarest = rarest[: len(content) - shared + 1]
        candidates = sorted({earlier for word in rarest for earlier in texts_with[word]})
        for earlier in candidates:
            other = contents[earlier]
            both = len(content & other)
            if both >= least_words and 2 * both / (len(content) + len(other)) >= least_share:
                repeated[index] = earlier
                break
        # What repeats a copy repeats the first one.
        if first_same.setdefault(frozenset(content), index) == index:
            for word in rarest:
                texts_with[word].append(index)
    return repeated
