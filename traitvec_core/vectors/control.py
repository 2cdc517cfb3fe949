"""The control that every score is compared with, and a method kept for compatibility."""

import numpy as np

from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Examples

__all__ = ["pca_diff", "random_direction"]


def random_direction(examples: Examples, options: MethodOptions) -> Direction:
    """Return a seeded direction that ignores the labels, except for its sign: towards positive.

    Its own length is the distance of the class means, so that it is a norm-matched control.
    """
    length = max(float(np.linalg.norm(examples.gap)), 1e-12)
    drawn = np.random.default_rng(options.seed).standard_normal(examples.values.shape[1])
    return oriented(np.multiply(drawn, length / np.linalg.norm(drawn)), examples)


def pca_diff(examples: Examples, options: MethodOptions) -> Direction:
    """Return the first principal component of differences positive − negative within a group.

    Pairs are formed in the order given inside each group, as representation-engineering readers do
    (Zou et al. 2023, arXiv:2310.01405); without any group that has both poles, over all examples.
    """
    del options
    differences = []
    for group in np.unique(examples.groups):
        inside = examples.subset(examples.groups == group)
        pairs = min(len(inside.positive), len(inside.negative))
        differences.append(inside.positive[:pairs] - inside.negative[:pairs])
    stacked = np.concatenate(differences)
    if not len(stacked):
        pairs = min(len(examples.positive), len(examples.negative))
        stacked = examples.positive[:pairs] - examples.negative[:pairs]
    # Not centred: the mean of the differences is what separates the poles.
    _, _, basis = np.linalg.svd(stacked, full_matrices=False)
    return oriented(basis[0], examples)
