"""Labels with the poles of entire instruction pairs, or questions, swapped.

If nothing of a pair's two instructions is common to all pairs, it is arbitrary which of the two is
called positive. The same holds for questions, if the poles differ on each question in its own way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traitvec_core.vectors.examples import Array

__all__ = ["Labelings", "swap_poles"]


@dataclass(frozen=True, eq=False)
class Labelings:
    """The true labels, and those with some groups swapped.

    Attributes:
        labels: `[1 + n, n_examples]` of 0 and 1; the true ones first, no two of them the same.
        n_groups: Groups with both poles; only these are swapped.
        n_distinct: All labelings that differ in what they separate: 2^(n_groups − 1), because
            swapping every group turns a vector around and changes no held-out figure.
    """

    labels: Array
    n_groups: int
    n_distinct: int

    @property
    def smallest_p_value(self) -> float:
        """The smallest p-value that a comparison with these labelings can show."""
        return 1 / len(self.labels)


def swap_poles(
    is_positive: NDArray[np.bool_], groups: NDArray[np.int64], n: int, seed: int = 0
) -> Labelings:
    """Swap the poles of entire groups: all ways if they are at most `n`, else `n` random ones.

    Args:
        is_positive: `[n_examples]`.
        groups: `[n_examples]`: the number of each example's instruction pair, or question.
        n: The most labelings beside the true one.
        seed: For drawing them.
    """
    labels = np.asarray(is_positive, bool)
    names = np.unique(groups)
    movable = [name for name in names if labels[groups == name].any() and
               not labels[groups == name].all()]  # fmt: skip
    # One group never moves: a labeling and its mirror image separate the same.
    n_bits = max(len(movable) - 1, 0)
    n_distinct = 2**n_bits
    if n_distinct - 1 <= n:
        codes = list(range(1, n_distinct))
    else:
        rng = np.random.default_rng(seed)
        drawn: dict[int, None] = {}
        while len(drawn) < n:
            code = int.from_bytes(rng.bytes(-(-n_bits // 8)), "big") % n_distinct
            if code:
                drawn[code] = None
        codes = list(drawn)
    member = np.array([groups == name for name in movable[1:]], bool).reshape(n_bits, len(labels))
    bits = np.array([[code >> bit & 1 for bit in range(n_bits)] for code in [0, *codes]], bool)
    swapped = (bits[:, :, None] & member[None]).any(axis=1)
    return Labelings((labels ^ swapped).astype(np.float64), len(movable), n_distinct)
