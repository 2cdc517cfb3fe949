"""Examples: inner products in the span, subsets, and folds by group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors.planted_examples import planted
from traitvec_core.vectors import Examples
from traitvec_core.vectors.examples import grouped_folds


@pytest.mark.parametrize(("n", "d"), [(30, 200), (200, 30), (40, 40), (6, 2304)])
@pytest.mark.parametrize("largest", [1.0, 1e4, 1e7])
def test_the_span_keeps_every_inner_product(n: int, d: int, largest: float) -> None:
    examples, _ = planted(n, d)
    examples.values[:, 3] *= largest
    span = examples.reduced
    rows, basis = span.coordinates, span.to_full(np.eye(span.coordinates.shape[1]))
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-6)
    scale = np.linalg.norm(examples.centred, axis=1).max()
    np.testing.assert_allclose(rows @ basis, examples.centred, atol=1e-6 * scale)
    # The small dimensions are there as well, to a part of their own size.
    np.testing.assert_allclose((rows @ basis)[:, 5], examples.centred[:, 5], atol=1e-3)
    np.testing.assert_allclose(span.to_basis(examples.centred), rows, atol=1e-5 * scale)


def test_a_subset_takes_its_inner_products_with_it() -> None:
    examples, _ = planted(40, 300, offset=1e4)
    assert examples.gram.shape == (40, 40)
    for rows in (np.arange(40) % 3 > 0, np.array([5, 1, 1, 30])):
        part = examples.subset(rows)
        fresh = Examples(part.values, part.is_positive, part.groups)
        np.testing.assert_allclose(part.gram, fresh.gram, atol=1e-8)


@settings(max_examples=200)
@given(
    groups=st.lists(st.integers(-3, 12), min_size=2, max_size=60),
    labels=st.data(),
    n_folds=st.integers(2, 8),
    seed=st.integers(0, 5),
)
def test_folds_never_split_a_group(
    groups: list[int], labels: st.DataObject, n_folds: int, seed: int
) -> None:
    n = len(groups)
    is_positive = np.array(labels.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    examples = Examples(np.zeros((n, 2)), is_positive, np.array(groups))
    folds = grouped_folds(examples, n_folds, seed)
    assert len(folds) <= n_folds
    assert (np.sum(folds, axis=0) <= 1).all() if folds else True
    for mask in folds:
        assert mask.any()
        assert not set(np.array(groups)[mask]) & set(np.array(groups)[~mask])
        assert examples.subset(~mask).has_both_poles
    for one, two in zip(folds, grouped_folds(examples, n_folds, seed), strict=True):
        assert np.array_equal(one, two)


def test_folds_of_equal_groups_are_even_and_cover_everything() -> None:
    examples, _ = planted(80, 3)
    folds = grouped_folds(examples, 5, seed=0)
    assert [int(mask.sum()) for mask in folds] == [16] * 5
    assert np.array_equal(np.sum(folds, axis=0), np.ones(80))
    other = grouped_folds(examples, 5, seed=1)
    assert any(not np.array_equal(a, b) for a, b in zip(folds, other, strict=True))
