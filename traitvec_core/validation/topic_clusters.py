"""Clusters of short texts by the rare pieces that they share."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

__all__ = ["cluster_texts"]

# Above 1, so that a frame that half of the questions share weighs little beside a topic that two
# share: in a language without spaces the frame has many more character pairs than the topic.
_RARITY_POWER = 1.5
# Far above what the order of a sum changes in a distance.
_ROUNDING = 1e-9
# Up to here, comparing all pairs in Python is faster than loading scipy.
_FEW = 200
# Texts compared with all others at once: 10,000 must not take a gigabyte.
_AT_ONCE = 256


def cluster_texts(pieces: Sequence[set[str]], largest_distance: float) -> list[int]:
    """Return the cluster of each text, `[n_texts]`, in no particular numbering.

    Average linkage on the cosine distances between TF-IDF vectors of the texts' pieces: the two
    closest clusters are joined until no mean distance is below the bound. Rarity is counted in
    the texts themselves, so a piece that all of them have weighs nothing.

    Args:
        pieces: The pieces of each text; a text without any is a cluster by itself.
        largest_distance: The bound.
    """
    n_texts = len(pieces)
    if n_texts < 2:
        return [0] * n_texts
    frequency = Counter(piece for each in pieces for piece in each)
    weights = {p: math.log(n_texts / n) ** _RARITY_POWER for p, n in frequency.items()}
    bound = largest_distance + _ROUNDING
    # The first two texts to be joined are the closest, so above the bound nothing is.
    if n_texts <= _FEW and _least_distance(pieces, weights) > bound:
        return list(range(n_texts))
    # Imported only where two questions may be close: it takes longer than the rest of a check.
    import numpy as np

    vectors = _unit_vectors(pieces, weights)
    clusters = np.zeros(n_texts, dtype=np.int64)
    for part in _connected(vectors, bound):
        clusters[part] = clusters.max() + 1 + _average_linkage(vectors[part], largest_distance)
    numbers: list[int] = clusters.tolist()
    return numbers


def _least_distance(pieces: Sequence[set[str]], weights: dict[str, float]) -> float:
    """Return the least cosine distance between any two texts."""
    norms = [math.sqrt(sum(weights[piece] ** 2 for piece in each)) for each in pieces]
    similarities = (
        sum(weights[piece] ** 2 for piece in one & other) / (norm * other_norm)
        for (one, norm), (other, other_norm) in combinations(zip(pieces, norms, strict=True), 2)
        if norm > 0 and other_norm > 0
    )
    return 1 - max(similarities, default=0.0)


def _unit_vectors(pieces: Sequence[set[str]], weights: dict[str, float]) -> Any:
    """Return `[n_texts, n_pieces]`, sparse: rows of length 1, or 0 where no piece weighs."""
    import numpy as np
    from scipy.sparse import csr_array, diags_array

    column = {piece: number for number, piece in enumerate(sorted(weights))}
    # Sorted, so that sums do not depend on the order of a set.
    rows = [sorted(each) for each in pieces]
    columns = np.array([column[piece] for row in rows for piece in row], dtype=np.int64)
    values = np.array([weights[piece] for row in rows for piece in row], dtype=np.float64)
    starts = np.cumsum([0, *map(len, rows)])
    vectors = csr_array((values, columns, starts), shape=(len(rows), len(column)))
    norms = np.sqrt(vectors.power(2).sum(axis=1))
    return csr_array(diags_array(1 / np.where(norms > 0, norms, 1)) @ vectors)


def _connected(vectors: Any, largest_distance: float) -> Iterator[Any]:
    """Yield the texts of each part that pairs at most this far apart connect, in order.

    A mean distance is never below the least one, so clusters lie within parts.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = [], []
    for begin, cosines in _cosines(vectors):
        is_close = cosines.data >= 1 - largest_distance
        rows.append(cosines.row[is_close] + begin)
        columns.append(cosines.col[is_close] + begin)
    row, column = np.concatenate(rows), np.concatenate(columns)
    n_texts = vectors.shape[0]
    close = coo_array((np.ones(len(row)), (row, column)), shape=(n_texts, n_texts))
    _, part_of = connected_components(close, directed=False)
    in_order = np.argsort(part_of, kind="stable")
    yield from np.split(in_order, np.cumsum(np.bincount(part_of))[:-1])


def _average_linkage(vectors: Any, largest_distance: float) -> Any:
    """Return the cluster of each row, `[n_rows]`, from 0."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage

    n_texts = vectors.shape[0]
    if n_texts == 1:
        return np.zeros(1, dtype=np.int64)
    # Half of the square, as `linkage` takes it.
    distances = np.empty(n_texts * (n_texts - 1) // 2)
    end = 0
    for _, cosines in _cosines(vectors):
        for number, row in enumerate(cosines.toarray()):
            begin, end = end, end + len(row) - number - 1
            distances[begin:end] = np.clip(1 - row[number + 1 :], 0, None)
    # At the bound itself nothing is joined, however its sum was rounded.
    bound = largest_distance - _ROUNDING
    return fcluster(linkage(distances, "average"), bound, criterion="distance") - 1


def _cosines(vectors: Any) -> Iterator[tuple[int, Any]]:
    """Yield a number of a row, and cosines of some rows from it on with all from it on, sparse."""
    for begin in range(0, vectors.shape[0], _AT_ONCE):
        yield begin, (vectors[begin : begin + _AT_ONCE] @ vectors[begin:].T).tocoo()
