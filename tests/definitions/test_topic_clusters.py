"""Clusters of any list are those of average linkage on all distances, however long it is."""

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from traitvec_core.validation.topic_clusters import cluster_texts

DISTANCES = (0.5, 0.7, 0.8)


def distances(pieces: list[set[str]]) -> np.ndarray:
    """The whole square."""
    counts = CountVectorizer(analyzer=sorted, binary=True).fit_transform(pieces)
    rarity = np.log(len(pieces) / np.asarray(counts.sum(axis=0)).ravel()) ** 1.5
    vectors = normalize(counts.multiply(rarity).tocsr())
    square: np.ndarray = np.clip(1 - (vectors @ vectors.T).toarray(), 0, None)
    np.fill_diagonal(square, 0)
    return square


def plain(pieces: list[set[str]], largest_distance: float) -> set[frozenset[int]]:
    """The same from all distances."""
    clustering = AgglomerativeClustering(
        n_clusters=None,
        distance_threshold=largest_distance,
        metric="precomputed",
        linkage="average",
    )
    return partition(clustering.fit_predict(distances(pieces)).tolist())


def partition(clusters: list[int]) -> set[frozenset[int]]:
    return {
        frozenset(index for index, other in enumerate(clusters) if other == cluster)
        for cluster in set(clusters)
    }


def random_texts(seed: int, n: int, n_pieces: int, longest: int) -> list[set[str]]:
    """Texts whose pieces are as unequally frequent as words are."""
    draw = random.Random(seed)
    pieces = [f"p{k}" for k in range(n_pieces)]
    weights = [1 / (k + 1) for k in range(n_pieces)]
    return [set(draw.choices(pieces, weights, k=draw.randint(1, longest))) for _ in range(n)]


@given(
    st.integers(0, 2**32),
    st.integers(2, 60),
    st.sampled_from((10, 40, 400)),
    st.integers(1, 9),
    st.sampled_from(DISTANCES),
)
def test_any_list(seed: int, n: int, n_pieces: int, longest: int, largest_distance: float) -> None:
    pieces = random_texts(seed, n, n_pieces, longest)
    # Which of two equally close pairs is joined first is no promise, nor what is at the bound.
    apart = distances(pieces)[np.triu_indices(n, 1)]
    close = np.sort([*apart[apart < largest_distance + 1e-9], largest_distance])
    assume(np.all(np.diff(close) > 1e-9))
    assert partition(cluster_texts(pieces, largest_distance)) == plain(pieces, largest_distance)


@pytest.mark.parametrize("largest_distance", DISTANCES)
@pytest.mark.parametrize(
    ("n", "n_pieces", "longest"),
    # From hardly any pair that is close to one part that connects nearly all.
    [(150, 4000, 30), (600, 20000, 30), (600, 2000, 12), (600, 300, 8), (600, 40, 4)],
)
def test_long_lists(n: int, n_pieces: int, longest: int, largest_distance: float) -> None:
    pieces = random_texts(n_pieces, n, n_pieces, longest)
    assert partition(cluster_texts(pieces, largest_distance)) == plain(pieces, largest_distance)


def test_a_chain_of_neighbours_is_not_one_cluster() -> None:
    # Each text is close to the next, and far from all others.
    pieces = [{f"p{k + step}" for step in range(4)} for k in range(500)]
    result = partition(cluster_texts(pieces, 0.7))
    assert result == plain(pieces, 0.7)
    assert 50 < len(result) < 250


def test_copies_and_texts_without_pieces() -> None:
    pieces = [{"a", "b"}] * 150 + [{"c"}] * 120 + [set[str]()] * 3
    result = partition(cluster_texts(pieces, 0.7))
    assert sorted(map(len, result)) == [1, 1, 1, 120, 150]


def test_a_piece_that_all_have_joins_nothing() -> None:
    pieces = [{"frame", f"topic {k}"} for k in range(300)]
    assert len(partition(cluster_texts(pieces, 0.8))) == 300


def test_the_order_of_texts_changes_nothing_without_ties() -> None:
    pieces = [pieces for pieces in random_texts(5, 400, 3000, 25) if len(pieces) > 2]
    order = random.Random(6).sample(range(len(pieces)), len(pieces))
    moved = cluster_texts([pieces[index] for index in order], 0.7)
    back = [0] * len(pieces)
    for cluster, index in zip(moved, order, strict=True):
        back[index] = cluster
    assert partition(back) == partition(cluster_texts(pieces, 0.7))


def test_close_pairs_within_a_bound_are_together() -> None:
    pieces = [{"x", "y", "z", f"own {k}"} if k < 2 else {f"own {k}"} for k in range(300)]
    result = cluster_texts(pieces, 0.7)
    together = [
        (one, two) for one, two in combinations(range(300), 2) if result[one] == result[two]
    ]
    assert together == [(0, 1)]
