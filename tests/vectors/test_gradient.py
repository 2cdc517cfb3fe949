"""Mean difference by hand, and the gradient method against scipy."""

import numpy as np
import pytest
import scipy.optimize  # type: ignore[import-untyped]
import torch

from tests.vectors.planted_examples import OPTIONS, cosine, planted
from traitvec_core.errors import TraitvecError
from traitvec_core.vectors import METHODS, Examples, MethodOptions
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.gradient import optima


def test_mean_diff_by_hand() -> None:
    examples = Examples(
        np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0], [-2.0, 1.0]]),
        np.array([True, True, False, False]),
        np.arange(4),
    )
    direction = METHODS["mean_diff"](examples, OPTIONS)
    assert direction.vector.tolist() == [3.0, 2.0]
    # Projections 7, 17 | 2, -4: means 12 and -1, half-way 5.5.
    assert direction.threshold == pytest.approx(5.5)


@pytest.mark.parametrize(("n", "d"), [(40, 200), (200, 12)])
def test_gradient_without_penalty_is_the_mean_difference(n: int, d: int) -> None:
    examples, _ = planted(n, d)
    expected = METHODS["mean_diff"](examples, OPTIONS).vector
    for seed in (0, 1):
        options = MethodOptions(gradient_penalty=0.0, seed=seed)
        found = METHODS["gradient"](examples, options).vector
        assert cosine(found, expected) >= 0.99999
        assert np.linalg.norm(found) == pytest.approx(1.0)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 5.0])
def test_gradient_with_penalty_is_scipys_optimum(penalty: float) -> None:
    examples, _ = planted(80, 6, gap=2.0)
    gap = examples.positive.mean(0) - examples.negative.mean(0)
    n_positive, n_negative = len(examples.positive), len(examples.negative)
    within = (
        np.cov(examples.positive.T, ddof=1) * (n_positive - 1)
        + np.cov(examples.negative.T, ddof=1) * (n_negative - 1)
    ) / (n_positive + n_negative - 2)

    def loss(v: Array) -> float:
        unit = v / np.linalg.norm(v)
        return float(penalty * np.sqrt(unit @ within @ unit) - gap @ unit)

    starts = np.random.default_rng(0).standard_normal((20, 6))
    best = min(
        (scipy.optimize.minimize(loss, start, method="BFGS", tol=1e-10) for start in starts),
        key=lambda result: float(result.fun),
    )
    found = METHODS["gradient"](examples, MethodOptions(gradient_penalty=penalty)).vector
    assert cosine(found, best.x) >= 0.9999
    assert loss(found) <= best.fun + 1e-6


def fisher(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """A custom objective, found by its import path."""
    return (positive.mean() - negative.mean()) / (positive.var() + negative.var()).sqrt()


def breaks(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    return positive.log().mean() * torch.nan


def gives_a_vector(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    return positive


def gives_a_float(positive: torch.Tensor, negative: torch.Tensor) -> float:
    return 1.0


def test_a_custom_objective_is_maximised() -> None:
    examples, _ = planted(200, 5, gap=2.0)
    options = MethodOptions(gradient_objective=f"{__name__}:fisher")
    found = METHODS["gradient"](examples, options).vector
    gap = examples.positive.mean(0) - examples.negative.mean(0)
    within = np.cov(examples.positive.T) + np.cov(examples.negative.T)
    assert cosine(found, np.linalg.solve(within, gap)) >= 0.9999


@pytest.mark.parametrize(
    "path",
    ["", "no_colon", "no.such.module:f", "math:no_such_name", ":f", "math:", ".relative:f",
     "math:pi", f"{__name__}:breaks", f"{__name__}:gives_a_vector", f"{__name__}:gives_a_float"],
)  # fmt: skip
def test_a_bad_objective_is_one_line(path: str) -> None:
    examples, _ = planted()
    with pytest.raises(TraitvecError) as error:
        METHODS["gradient"](examples, MethodOptions(gradient_objective=path))
    assert "gradient_objective" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 30.0])
def test_examples_that_count_twice_are_examples_given_twice(penalty: float) -> None:
    examples, _ = planted(40, 200, gap=1.0, offset=50.0)
    counts = np.random.default_rng(0).integers(0, 3, (3, 40)).astype(float)
    mixes = optima(examples.gram, examples.is_positive, counts, penalty)
    for mix, count in zip(mixes, counts, strict=True):
        repeated = examples.subset(np.repeat(np.arange(40), count.astype(int)))
        options = MethodOptions(gradient_penalty=penalty)
        expected = METHODS["gradient"](repeated, options).vector
        assert cosine(mix @ examples.centred, expected) >= 0.999999
