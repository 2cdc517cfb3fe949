"""The labelled activations of one layer, the input of every method, and their span."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Examples", "Span", "fold_numbers", "grouped_folds", "span_of"]

Array = NDArray[np.float64]

# Shares of the largest eigenvalue of a Gram matrix: below the first there is only rounding, and
# below the second the eigenvector is too inexact to be divided by its root.
_NOISE = 1e-12
_INEXACT = 1e-9
# A dimension 10⁵ times the usual one leaves no digits for the others in a product.
_MASSIVE = 1e10


@dataclass(frozen=True, eq=False)
class Span:
    """Points in an orthonormal basis of the space that they span.

    Inner products are those of the full space, so a method that only uses them may work here:
    with fewer examples than dimensions this is exact and much smaller.

    Attributes:
        coordinates: `[n, r]`; columns are orthogonal, the longest first (principal components).
        left: `[r, k]`, or None for the identity.
        right: `[k, hidden_dim]`; the basis is `left @ right`, which is never computed.
    """

    coordinates: Array
    left: Array | None
    right: Array

    def to_full(self, weights: Array) -> Array:
        """Map `[r]` or `[k, r]` from the basis to `[hidden_dim]` or `[k, hidden_dim]`."""
        mixed = weights if self.left is None else weights @ self.left
        full: Array = mixed @ self.right
        return full

    def to_basis(self, points: Array) -> Array:
        """Return coordinates `[k, r]` of other points `[k, hidden_dim]`, projected on the span."""
        along = points @ self.right.T
        coordinates: Array = along if self.left is None else along @ self.left.T
        return coordinates


@dataclass(frozen=True, eq=False)
class Examples:
    """Activations of one layer with their labels.

    Attributes:
        values: float64 `[n, hidden_dim]`.
        is_positive: bool `[n]`.
        groups: int `[n]`; examples of one group (an instruction pair, or a question) are never on
            both sides of a split.
        label_free: What methods keep here because labels do not change it, by name.
    """

    values: Array
    is_positive: NDArray[np.bool_]
    groups: NDArray[np.int64]
    label_free: dict[str, Any] = field(default_factory=dict, repr=False)

    def relabelled(self, is_positive: NDArray[np.bool_]) -> "Examples":
        """Return the same examples with other labels; what labels do not change is shared."""
        other = Examples(self.values, is_positive, self.groups, self.label_free)
        for name in ("centred", "gram", "reduced"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def subset(self, rows: NDArray[Any]) -> "Examples":
        """Return the examples at `rows` (indices or a mask)."""
        part = Examples(self.values[rows], self.is_positive[rows], self.groups[rows])
        if "gram" in self.__dict__:
            # The inner products are known; only their origin moves.
            at = np.flatnonzero(rows) if rows.dtype == bool else rows
            part.__dict__["gram"] = _recentred(self.gram[np.ix_(at, at)])
        return part

    @cached_property
    def positive(self) -> Array:
        """`[n_positive, hidden_dim]`."""
        return self.values[self.is_positive]

    @cached_property
    def negative(self) -> Array:
        """`[n_negative, hidden_dim]`."""
        return self.values[~self.is_positive]

    @property
    def has_both_poles(self) -> bool:
        """Whether each pole has at least one example."""
        return bool(self.is_positive.any() and not self.is_positive.all())

    @cached_property
    def gap(self) -> Array:
        """mean(positive) − mean(negative), `[hidden_dim]`."""
        difference: Array = self.positive.mean(axis=0) - self.negative.mean(axis=0)
        return difference

    @cached_property
    def centred(self) -> Array:
        """`values` without their mean."""
        around: Array = self.values - self.values.mean(axis=0)
        return around

    @cached_property
    def gram(self) -> Array:
        """Inner products of the centred examples, `[n, n]`."""
        products: Array = self.centred @ self.centred.T
        return products

    @cached_property
    def reduced(self) -> Span:
        """The centred examples in their span."""
        n, hidden_dim = self.values.shape
        return span_of(self.centred, self.gram if n <= hidden_dim else None)


def span_of(points: Array, gram: Array | None = None) -> Span:
    """Find the span of `[n, d]` points from the eigenvectors of the smaller of their two products.

    Computed in float64 from centred points, because a product squares the range of scales. Where
    even that range is too wide, the singular values themselves are computed.

    Args:
        points: `[n, d]`.
        gram: `points @ points.T`, if known.
    """
    n, d = points.shape
    is_wide = n <= d
    sizes = np.einsum("nd,nd->d", points, points)
    sizes = sizes[sizes > 0]
    if len(sizes) and sizes.max() > _MASSIVE * np.median(sizes):
        return _span_by_svd(points)
    product = (points @ points.T if gram is None else gram) if is_wide else points.T @ points
    squares, vectors = np.linalg.eigh(product)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    kept = squares > max(float(squares[0]), 0.0) * _NOISE if len(squares) else squares > 0
    squares, vectors = squares[kept], vectors[:, kept]
    if not is_wide:
        return Span(points @ vectors, None, vectors.T)
    if len(squares) and squares[-1] < squares[0] * _INEXACT:
        return _span_by_svd(points)
    lengths = np.sqrt(squares)
    return Span(vectors * lengths, (vectors / lengths).T, points)


def _span_by_svd(points: Array) -> Span:
    u, s, basis = np.linalg.svd(points, full_matrices=False)
    kept = s > s[0] * 1e-10
    return Span(u[:, kept] * s[kept], None, basis[kept])


def grouped_folds(examples: Examples, n_folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """Split by group into at most `n_folds` folds, and return the held-out mask of each.

    A fold whose removal leaves only one pole is dropped, as is one without examples.
    """
    assigned = fold_numbers(examples.groups, n_folds, seed)
    masks = [assigned == fold for fold in np.unique(assigned)]
    return [mask for mask in masks if _leaves_both_poles(examples, mask)]


def fold_numbers(groups: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Assign entire groups to at most `n_folds` folds, and return each example's fold `[n]`.

    Groups are assigned in a seeded order, largest first, to the smallest fold, so that folds are
    even.
    """
    names, sizes = np.unique(groups, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    count = min(n_folds, len(names))
    load = np.zeros(max(count, 1), dtype=np.int64)
    fold_of = {}
    for index in order:
        fold = int(load.argmin())
        fold_of[int(names[index])] = fold
        load[fold] += sizes[index]
    return np.array([fold_of[int(group)] for group in groups], np.int64)


def _leaves_both_poles(examples: Examples, held_out: NDArray[np.bool_]) -> bool:
    kept = examples.is_positive[~held_out]
    return bool(kept.any() and not kept.all())


def _recentred(gram: Array) -> Array:
    """The Gram matrix of the same points around their own mean."""
    means = gram.mean(axis=0)
    moved: Array = gram - means - means[:, None] + means.mean()
    return moved
