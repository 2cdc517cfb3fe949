"""Which beginnings several token sequences share, so that each is computed once.

Prompts of a judge share the rubric, and within it the question:

    rubric A ─┬─ question 1 ─┬─ response, end
              │              └─ response, end
              └─ question 2 ─── …
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Prefix", "SharedPrefixes", "shared_prefixes"]

# Fewer saved tokens are not worth another row in a forward pass.
_LEAST_SAVED = 64
# Each level is a forward pass that waits for the one before.
_MOST_LEVELS = 4


@dataclass(frozen=True)
class Prefix:
    """A beginning that several sequences share.

    Attributes:
        parent: Index of the longest shared beginning of this one; None if there is none.
        level: Number of its ancestors.
        begin: Number of tokens that belong to the parent.
        ids: All tokens, the parent's included.
    """

    parent: int | None
    level: int
    begin: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class SharedPrefixes:
    """The shared beginnings of some sequences.

    Attributes:
        prefixes: Each after its parent.
        of: For each sequence the index of its longest shared beginning, or None. It is always
            shorter than the sequence.
    """

    prefixes: list[Prefix]
    of: list[int | None]


def shared_prefixes(sequences: Sequence[Sequence[int]], most_tokens: int) -> SharedPrefixes:
    """Choose the beginnings that save the most, as a tree.

    Args:
        sequences: Token ids.
        most_tokens: Most tokens of all prefixes together, each token of the tree counted once.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    common = [
        _common_length(sequences[first], sequences[second]) for first, second in pairwise(order)
    ]
    prefixes: list[Prefix] = []
    # By place in `order`; an ancestor is shorter, so it comes first.
    longest: list[int | None] = [None] * len(order)
    room = most_tokens
    for depth, begin, end in sorted(_runs(common)):
        parent = longest[begin]
        before, level = (
            (0, 0) if parent is None else (len(prefixes[parent].ids), prefixes[parent].level + 1)
        )
        new = depth - before
        if (end - begin - 1) * new < _LEAST_SAVED or new > room or level >= _MOST_LEVELS:
            continue
        room -= new
        longest[begin:end] = [len(prefixes)] * (end - begin)
        ids = tuple(sequences[order[begin]][:depth])
        prefixes.append(Prefix(parent, level, before, ids))
    of: list[int | None] = [None] * len(order)
    for place, i in enumerate(order):
        of[i] = longest[place]
    return SharedPrefixes(prefixes, of)


def _runs(common: list[int]) -> list[tuple[int, int, int]]:
    """Return every branching point of sorted sequences as (length, first place, end).

    Args:
        common: Number of tokens that each sequence shares with the next.
    """
    runs: list[tuple[int, int, int]] = []
    open_: list[tuple[int, int]] = []
    for place, depth in enumerate([*common, 0]):
        begin = place
        while open_ and depth < open_[-1][0]:
            length, begin = open_.pop()
            runs.append((length, begin, place + 1))
        if depth and (not open_ or depth > open_[-1][0]):
            open_.append((depth, begin))
    return runs


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    # At least the last token of a sequence remains: its logits are what is read.
    most = min(len(first), len(second)) - 1
    for length, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b or length == most:
            return length
    return 0
