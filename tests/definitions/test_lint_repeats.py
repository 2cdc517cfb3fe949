"""Texts that repeat an earlier one, by the rule and not by how they are looked up."""

import random

from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.validation.lint.repeats import first_repeated

SHARES = st.sampled_from((0.3, 0.5, 0.6, 0.75, 2 / 3, 0.9, 1.0))


def plain(contents: list[set[str]], least_share: float, least_words: int) -> dict[int, int]:
    repeated = {}
    for index, content in enumerate(contents):
        for earlier, other in enumerate(contents[:index]):
            both = len(content & other)
            if both >= least_words and 2 * both / (len(content) + len(other)) >= least_share:
                repeated[index] = earlier
                break
    return repeated


@given(st.lists(st.sets(st.sampled_from("abcdefghij")), max_size=25), SHARES, st.integers(1, 4))
def test_the_first_repeated_is_that_of_comparing_all(
    contents: list[set[str]], least_share: float, least_words: int
) -> None:
    expected = plain(contents, least_share, least_words)
    assert first_repeated(contents, least_share, least_words) == expected


def test_long_lists_with_copies_and_variants() -> None:
    draw = random.Random(1)
    vocabulary = [f"w{k}" for k in range(300)]
    frames = [set(draw.sample(vocabulary, 12)) for _ in range(40)]
    contents = [
        (frame - set(draw.sample(sorted(frame), draw.randint(0, 4))))
        | set(draw.sample(vocabulary, draw.randint(0, 4)))
        for frame in draw.choices(frames, k=600)
    ]
    expected = plain(contents, 0.75, 3)
    assert 100 < len(expected) < 560
    assert first_repeated(contents, 0.75, 3) == expected
