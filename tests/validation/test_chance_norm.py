"""The norm by chance: that of noise is its own, and a planted trait is longer."""

from typing import Any

import numpy as np
import pytest

from tests.validation.crossed_design import Crossed, crossed
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.chance_norm import chance_norms
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.vectors import TraitVector, extract_vectors

METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe", "ica", "gradient")


def measure(
    data: Crossed, scale: str, methods: tuple[VectorMethod, ...] = METHODS
) -> dict[tuple[str, int], tuple[TraitVector, float]]:
    known: Any = (data.is_positive, data.questions, data.pairs)
    vectors = extract_vectors(
        data.activations, data.is_positive, data.pairs, layers=[1], methods=methods, scale=scale
    )
    norms = chance_norms(data.activations, *known, vectors)
    return {(v.method, v.layer): (v, norms[v.method, v.layer]) for v in vectors}


@pytest.mark.parametrize("scale", ["separation", "raw", "unit"])
def test_noise_is_as_long_as_chance_makes_it(scale: str) -> None:
    ratios: dict[str, list[float]] = {}
    for seed in range(6):
        data = crossed(seed=seed, n_pairs=6, text_sd=0.5)
        for (method, _), (vector, norm) in measure(data, scale).items():
            ratios.setdefault(method, []).append(vector.vector_norm / norm)
    assert set(ratios) == set(METHODS)
    for method, of_method in ratios.items():
        print(method, np.round(of_method, 2))
        assert np.median(of_method) == pytest.approx(1, abs=0.2), method
        assert max(of_method) < 2, method


def test_a_planted_trait_is_longer_by_every_method_and_scale_alike() -> None:
    data = crossed(12.0, n_pairs=6)
    by_scale = {scale: measure(data, scale) for scale in ("separation", "raw", "unit")}
    for place, (vector, norm) in by_scale["separation"].items():
        assert vector.vector_norm > 2.5 * norm, place
        for other, other_norm in (by_scale["raw"][place], by_scale["unit"][place]):
            ratio = other.vector_norm / other_norm
            assert ratio == pytest.approx(vector.vector_norm / norm, rel=1e-6)


def test_it_is_the_median_distance_of_the_means_under_swapped_pairs() -> None:
    data = crossed(2.0, n_pairs=4)
    [(_, norm)] = measure(data, "separation", ("mean_diff",)).values()
    values = data.activations[:, 1].numpy()
    labels = swap_poles(data.is_positive, data.pairs, 127).labels[1:] > 0.5
    assert len(labels) == 7
    gaps = [np.linalg.norm(values[row].mean(axis=0) - values[~row].mean(axis=0)) for row in labels]
    assert norm == pytest.approx(np.median(gaps))


def test_without_pairs_questions_are_swapped_and_one_pair_gives_no_norm() -> None:
    data = crossed(2.0, n_pairs=1, n_questions=8)
    vectors = extract_vectors(
        data.activations, data.is_positive, data.questions, layers=[1], methods=["mean_diff"]
    )
    known = data.activations, data.is_positive, data.questions
    assert set(chance_norms(*known, None, vectors)) == {("mean_diff", 1)}
    assert chance_norms(*known, data.pairs, vectors) == {}
