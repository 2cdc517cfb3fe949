"""What every vector method promises, and extraction over layers and methods."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors.planted_examples import (
    ALL,
    DEFAULT,
    OPTIONS,
    cosine,
    extract,
    planted,
)
from traitvec_core.errors import TraitvecError
from traitvec_core.validation.separation import measure_separation
from traitvec_core.vectors import METHODS, Examples, MethodOptions, extract_vectors
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.probe import probe


@pytest.mark.parametrize("method", ALL)
def test_directions_are_seeded_repeatable_and_point_to_positive(method: Any) -> None:
    examples, _ = planted(60, 100)
    first = METHODS[method](examples, MethodOptions(seed=3))
    np.random.seed(99)
    torch.manual_seed(99)
    second = METHODS[method](examples, MethodOptions(seed=3))
    np.testing.assert_array_equal(first.vector, second.vector)
    assert first.threshold == second.threshold
    projected = examples.values @ first.vector
    assert projected[examples.is_positive].mean() > projected[~examples.is_positive].mean()
    swapped = Examples(examples.values, ~examples.is_positive, examples.groups)
    turned = METHODS[method](swapped, MethodOptions(seed=3))
    projected = swapped.values @ turned.vector
    assert projected[swapped.is_positive].mean() > projected[~swapped.is_positive].mean()
    assert cosine(turned.vector, first.vector) < -0.99


@pytest.mark.parametrize("method", [m for m in ALL if m != "random"])
@pytest.mark.parametrize(("n", "d"), [(400, 20), (400, 300)])
def test_a_planted_direction_is_recovered(method: Any, n: int, d: int) -> None:
    rng = np.random.default_rng(1)
    examples, direction = planted(n, d, gap=0.0)
    # Isotropic noise: the direction of the gap is then everyone's optimum (but for the probe, whose
    # penalty is on standardised dimensions).
    values = (
        rng.standard_normal((n, d)) + np.where(examples.is_positive, 4, -4)[:, None] * direction
    )
    isotropic = Examples(values, examples.is_positive, examples.groups)
    floor = {"mean_diff": 0.95, "gradient": 0.95, "probe": 0.8, "pca_diff": 0.95, "ica": 0.9}
    assert cosine(METHODS[method](isotropic, OPTIONS).vector, direction) > floor[method]


def test_random_is_norm_matched_and_knows_no_labels() -> None:
    examples, direction = planted(60, 500, gap=10.0)
    found = METHODS["random"](examples, MethodOptions(seed=1)).vector
    gap = METHODS["mean_diff"](examples, OPTIONS).vector
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(gap))
    assert abs(cosine(found, direction)) < 0.2
    other = METHODS["random"](examples, MethodOptions(seed=2)).vector
    assert abs(cosine(found, other)) < 0.2


@pytest.mark.parametrize("method", ALL)
def test_scales(method: Any) -> None:
    examples, _ = planted(60, 30)
    found = {
        scale: extract(
            examples.values,
            examples.is_positive,
            methods=[method],
            scale=scale,
            dtype=torch.float64,
        )[0]
        for scale in ("separation", "raw", "unit")
    }
    unit = found["unit"].vector.double().numpy()
    assert np.linalg.norm(unit) == pytest.approx(1.0, rel=1e-6)
    separation = (examples.positive @ unit).mean() - (examples.negative @ unit).mean()
    mean_norm = np.linalg.norm(examples.values, axis=1).mean()
    raw = METHODS[method](examples, OPTIONS).vector
    for scale, length in (("separation", separation), ("raw", np.linalg.norm(raw)), ("unit", 1.0)):
        vector = found[scale]
        assert vector.vector.dtype == torch.float32
        assert vector.vector_norm == pytest.approx(length, rel=1e-5)
        assert float(vector.vector.norm()) == pytest.approx(vector.vector_norm, rel=1e-5)
        assert cosine(vector.vector, unit) == pytest.approx(1.0)
        assert vector.relative_norm == pytest.approx(length / mean_norm, rel=1e-5)
        assert vector.separation == pytest.approx(separation, rel=1e-5)
        assert vector.train_accuracy == pytest.approx(found["unit"].train_accuracy)


def test_layers_and_methods_come_in_order() -> None:
    examples, _ = planted(40, 12)
    activations = torch.stack(
        [torch.from_numpy(examples.values) * k for k in range(1, 5)], dim=1
    ).half()
    finished: list[int] = []
    vectors = extract_vectors(
        activations,
        examples.is_positive,
        examples.groups,
        layers=[3, 0],
        methods=["probe", "mean_diff"],
        on_layer=finished.append,
    )
    assert [(v.layer, v.method) for v in vectors] == [
        (3, "probe"), (3, "mean_diff"), (0, "probe"), (0, "mean_diff"),
    ]  # fmt: skip
    assert finished == [3, 0]
    assert vectors[1].vector_norm == pytest.approx(4 * vectors[3].vector_norm, rel=1e-3)
    # Training accuracy by hand: half-way between the means along the mean difference.
    values = activations[:, 0].double().numpy()
    v = values[examples.is_positive].mean(0) - values[~examples.is_positive].mean(0)
    middle = (values[examples.is_positive].mean(0) + values[~examples.is_positive].mean(0)) @ v / 2
    assert vectors[3].train_accuracy == ((values @ v > middle) == examples.is_positive).mean()


def massive(values: Array) -> Array:
    values[:, 3] += 1e4
    values[:, 4] *= 1e3
    return values


def constant(values: Array) -> Array:
    values[:, 2] = 7.25
    values[:, 5] = 0.0
    return values


def repeated(values: Array) -> Array:
    values[2::2] = values[0]
    values[3::2] = values[1]
    return values


def tiny(values: Array) -> Array:
    return values * 1e-3


@pytest.mark.parametrize("spoil", [massive, constant, repeated, tiny])
@pytest.mark.parametrize(("n", "d"), [(6, 40), (60, 40), (60, 8)])
def test_awkward_activations_give_finite_vectors(
    spoil: Callable[[Array], Array], n: int, d: int
) -> None:
    examples, _ = planted(n, d, gap=4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        vectors = extract(
            spoil(examples.values.copy()), examples.is_positive, methods=ALL, dtype=torch.float16
        )
    for vector in vectors:
        assert torch.isfinite(vector.vector).all(), vector.method
        assert vector.vector.norm() > 0
        for figure in (vector.vector_norm, vector.raw_norm, vector.relative_norm):
            assert np.isfinite(figure), vector.method
            assert figure > 0, vector.method
        assert 0 <= vector.train_accuracy <= 1
    if spoil is repeated:
        by_method = {vector.method: vector for vector in vectors}
        assert all(by_method[m].train_accuracy == 1.0 for m in DEFAULT)


@settings(max_examples=60)
@given(data=st.data())
def test_no_float16_activations_give_nan(data: st.DataObject) -> None:
    n = 2 * data.draw(st.integers(3, 12), label="examples a pole")
    d = data.draw(st.integers(2, 40), label="hidden_dim")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    values = rng.standard_normal((n, d)) * data.draw(st.sampled_from([1e-3, 1.0, 6.0]))
    if data.draw(st.booleans(), label="massive"):
        values[:, 0] = values[:, 0] * 1e3 + 1e4
    if data.draw(st.booleans(), label="constant"):
        values[:, d // 2] = 3.3
    if data.draw(st.booleans(), label="repeated"):
        values[n // 2 :] = values[: n - n // 2]
    values[::2, -1] += data.draw(st.sampled_from([1.0, 50.0]), label="gap")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            vectors = extract(values, np.arange(n) % 2 == 0, methods=ALL, dtype=torch.float16)
        except TraitvecError as error:
            # One direction only: the widest of the differences may be at right angles to the gap.
            assert "pca_diff" in str(error)  # noqa: PT017
            return
    for vector in vectors:
        assert torch.isfinite(vector.vector).all(), vector.method
        assert vector.vector.any(), vector.method
        assert np.isfinite([vector.vector_norm, vector.relative_norm, vector.raw_norm]).all()


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    activations = torch.from_numpy(rng.standard_normal((40, 5, 300))).half()
    is_positive, groups = np.arange(40) % 2 == 0, np.arange(40) // 4
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            finished: list[int] = []
            vectors = extract_vectors(
                activations, is_positive, groups, layers=range(5), methods=ALL,
                on_layer=finished.append,
            )  # fmt: skip
            separation = measure_separation(
                activations, is_positive, groups, layers=[1, 2, 4], methods=ALL
            )
            assert finished == [0, 1, 2, 3, 4]
            assert torch.get_num_threads() == threads
            found.append((vectors, separation))
    finally:
        torch.set_num_threads(before)
    (vectors, separation), (others, other_separation) = found
    assert separation == other_separation
    for one, other in zip(vectors, others, strict=True):
        assert torch.equal(one.vector, other.vector), one.method


def test_a_constant_dimension_has_no_weight_in_the_probe() -> None:
    examples, _ = planted(60, 10)
    values = constant(examples.values.copy())
    # The mean of many equal numbers is off by rounding; that must not become a feature.
    values[:, 2] = 0.1
    assert values[:, 2].std() > 0
    vector = probe(Examples(values, examples.is_positive, examples.groups), OPTIONS).vector
    assert vector[2] == vector[5] == 0
    assert np.count_nonzero(vector) == 8


@pytest.mark.parametrize("method", ALL)
def test_poles_that_are_the_same_have_no_direction(method: Any) -> None:
    half = planted(20, 10)[0].values
    for values in (np.concatenate([half, half]), np.concatenate([half, half[::-1]])):
        with pytest.raises(TraitvecError, match="no direction"):
            extract(values, np.arange(40) < 20, methods=[method])
    with pytest.raises(TraitvecError, match="no direction"):
        extract(np.ones((8, 5)), np.arange(8) < 4, methods=[method])


def test_unusable_activations_are_one_line() -> None:
    examples, _ = planted(20, 5)
    with pytest.raises(TraitvecError, match="one pole is empty"):
        extract(examples.values, np.ones(20, bool))
    with pytest.raises(TraitvecError, match="NaN"):
        extract(np.where(np.eye(20, 5) > 0, np.nan, examples.values), examples.is_positive)
    for layer in (1, -1):
        with pytest.raises(TraitvecError, match="do not exist"):
            extract(examples.values, examples.is_positive, layers=[layer])
