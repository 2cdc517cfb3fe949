"""ICA against scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import FastICA

from tests.vectors.planted_examples import (
    OPTIONS,
    cosine,
    planted,
)
from traitvec_core.vectors import METHODS, Examples, MethodOptions
from traitvec_core.vectors.ica import ica_of_each


def mixed_sources(seed: int = 0, n: int = 600, d: int = 6) -> Examples:
    """Independent, strongly non-Gaussian sources under a random mixing; one is the trait."""
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n) % 2 == 0
    trait = np.where(is_positive, 1.0, -1.0) + rng.uniform(-0.3, 0.3, n)
    others = [rng.uniform(-1, 1, n) if k % 2 else rng.laplace(size=n) for k in range(d - 1)]
    mixing = rng.standard_normal((d, d))
    return Examples(np.stack([*others, trait], 1) @ mixing + 5.0, is_positive, np.arange(n) // 4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ica_is_the_best_component_of_scikit_learns(seed: int) -> None:
    examples = mixed_sources(seed)
    reference = FastICA(
        n_components=6, whiten="unit-variance", random_state=seed, tol=1e-10, max_iter=5_000
    )
    sources = reference.fit_transform(examples.values)
    positive, negative = sources[examples.is_positive], sources[~examples.is_positive]
    gaps = np.abs(positive.mean(0) - negative.mean(0)) / (positive.std(0) + negative.std(0))
    expected = reference.components_[int(gaps.argmax())]
    found = METHODS["ica"](examples, MethodOptions(seed=seed)).vector
    assert abs(cosine(found, expected)) >= 0.9999


def test_ica_in_the_span_is_scikit_learns_in_all_dimensions() -> None:
    rng = np.random.default_rng(0)
    is_positive = np.arange(200) % 2 == 0
    trait = np.where(is_positive, 1.0, -1.0) + rng.uniform(-0.3, 0.3, 200)
    sources = np.column_stack([rng.uniform(-1, 1, (200, 3)), rng.laplace(size=(200, 3)), trait])
    values = sources @ rng.standard_normal((7, 2304)) + 1e-3 * rng.standard_normal((200, 2304))
    values[:, 11] += 1e4
    reference = FastICA(10, whiten="unit-variance", random_state=0, tol=1e-4, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found_sources = reference.fit_transform(values)
    positive, negative = found_sources[is_positive], found_sources[~is_positive]
    gaps = np.abs(positive.mean(0) - negative.mean(0)) / (positive.std(0) + negative.std(0))
    expected = reference.components_[int(gaps.argmax())]
    found = METHODS["ica"](Examples(values, is_positive, np.arange(200) // 4), OPTIONS).vector
    assert abs(cosine(found, expected)) >= 0.9999


def test_ica_side_by_side_is_ica_one_by_one() -> None:
    problems = [mixed_sources(seed, n) for seed, n in ((0, 400), (1, 380), (2, 400))]
    problems.append(planted(5, 40)[0])
    together = ica_of_each(problems, OPTIONS)
    for examples, found in zip(problems, together, strict=True):
        alone = METHODS["ica"](examples, OPTIONS)
        assert cosine(found.vector, alone.vector) >= 0.999999
        assert found.threshold == pytest.approx(alone.threshold, rel=1e-3)
