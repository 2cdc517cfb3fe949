"""The labelled activations of one layer, as every method takes them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Examples", "grouped_folds"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Activations of one layer with their labels.

    Attributes:
        values: float64 `[n, hidden_dim]`.
        is_positive: bool `[n]`.
        groups: int `[n]`; examples of one group (a question) are never on both sides of a split.
    """

    values: Array
    is_positive: NDArray[np.bool_]
    groups: NDArray[np.int64]

    def subset(self, rows: NDArray[Any]) -> "Examples":
        """Return the examples at `rows` (indices or a mask)."""
        return Examples(self.values[rows], self.is_positive[rows], self.groups[rows])

    @property
    def positive(self) -> Array:
        """`[n_positive, hidden_dim]`."""
        return self.values[self.is_positive]

    @property
    def negative(self) -> Array:
        """`[n_negative, hidden_dim]`."""
        return self.values[~self.is_positive]

    @property
    def has_both_poles(self) -> bool:
        """Whether each pole has at least one example."""
        return bool(self.is_positive.any() and not self.is_positive.all())

    @cached_property
    def reduced(self) -> tuple[Array, Array]:
        """Centred coordinates `[n, r]` in an orthonormal basis `[r, hidden_dim]` of their span.

        Inner products are those of the full space, so a method that only uses them may work here:
        with fewer examples than dimensions this is exact and much smaller.
        """
        centred = self.values - self.values.mean(axis=0)
        u, s, basis = np.linalg.svd(centred, full_matrices=False)
        kept = s > (s[0] if len(s) else 0.0) * 1e-10
        return u[:, kept] * s[kept], basis[kept]


def grouped_folds(examples: Examples, n_folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """Split by group into at most `n_folds` folds; returns the held-out mask of each.

    Groups are dealt out in a seeded order, largest first, to the fold that holds least of them, so
    that folds are even. A fold whose removal leaves only one pole is dropped, as is one without
    examples.
    """
    names, sizes = np.unique(examples.groups, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    count = min(n_folds, len(names))
    load = np.zeros(max(count, 1), dtype=np.int64)
    fold_of = {}
    for index in order:
        fold = int(load.argmin())
        fold_of[int(names[index])] = fold
        load[fold] += sizes[index]
    assigned = np.array([fold_of[int(group)] for group in examples.groups])
    masks = [assigned == fold for fold in range(count)]
    return [mask for mask in masks if mask.any() and examples.subset(~mask).has_both_poles]
