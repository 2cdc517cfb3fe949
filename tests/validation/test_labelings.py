"""Labels with entire groups swapped: all that differ, and no other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.validation.labelings import swap_poles


@st.composite
def labelled_groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 40))
    groups = draw(st.lists(st.integers(-2, 9), min_size=n, max_size=n))
    is_positive = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(is_positive), np.array(groups, np.int64)


@given(known=labelled_groups(), n=st.integers(1, 70), seed=st.integers(0, 3))
def test_labelings_are_distinct_ways_of_swapping_entire_groups(
    known: tuple[np.ndarray, np.ndarray], n: int, seed: int
) -> None:
    is_positive, groups = known
    swapped = swap_poles(is_positive, groups, n, seed)
    rows = swapped.labels > 0.5
    assert np.array_equal(rows[0], is_positive)
    movable = [g for g in np.unique(groups) if 0 < is_positive[groups == g].mean() < 1]
    assert swapped.n_groups == len(movable)
    assert swapped.n_distinct == 2 ** max(len(movable) - 1, 0)
    assert len(rows) == min(1 + n, swapped.n_distinct)
    assert swapped.smallest_p_value == 1 / len(rows)
    moved = rows ^ is_positive
    assert len({row.tobytes() for row in moved}) == len(rows)
    for group in np.unique(groups):
        inside = moved[:, groups == group]
        # Entirely or not at all, and never where only one pole is.
        assert (inside == inside[:, :1]).all()
        assert group in movable or not inside.any()
    # A mirror image swaps every movable group, and would give the same figures again.
    of_movable = moved[:, np.isin(groups, movable)]
    patterns = {row.tobytes() for row in of_movable}
    if movable:
        assert not any((~row).tobytes() in patterns for row in of_movable)


def test_the_drawn_labelings_are_seeded_and_swap_each_group_half_of_the_time() -> None:
    is_positive, groups = np.arange(60) % 2 == 0, np.arange(60) // 2
    first, again, other = (swap_poles(is_positive, groups, 400, seed).labels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    shares = (first[1:] != first[0]).mean(axis=0)
    # Of the two mirror images, the one in which the first group stays.
    assert (shares[:2] == 0).all()
    assert (np.abs(shares[2:] - 0.5) < 0.12).all()
