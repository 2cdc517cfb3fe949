"""Stage 3: every method against an independent implementation of it."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize  # type: ignore[import-untyped]
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import FastICA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from traitvec_core.errors import TraitvecError
from traitvec_core.validation.separation import measure_separation
from traitvec_core.vectors import METHODS, Examples, MethodOptions, extract_vectors
from traitvec_core.vectors.examples import Array, grouped_folds
from traitvec_core.vectors.gradient import optima
from traitvec_core.vectors.ica import ica_of_each
from traitvec_core.vectors.logistic import fit_logistic, fit_many
from traitvec_core.vectors.probe import CANDIDATES, choose_c, fit_probe, probe, standardised

OPTIONS = MethodOptions()
ALL = tuple(METHODS)
DEFAULT = ("mean_diff", "probe", "ica", "gradient")


def planted(
    n: int = 60, d: int = 16, gap: float = 3.0, seed: int = 0, offset: float = 2.0
) -> tuple[Examples, Array]:
    """Anisotropic noise with the poles apart along one unit direction, and that direction."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(d)
    direction /= np.linalg.norm(direction)
    is_positive = np.arange(n) % 2 == 0
    values = rng.standard_normal((n, d)) * rng.uniform(0.3, 1.5, d) + offset
    values += np.where(is_positive, gap / 2, -gap / 2)[:, None] * direction
    return Examples(values, is_positive, np.arange(n) // 4), direction


def standardised_features(examples: Examples) -> tuple[Array, Callable[[Array], Array]]:
    """The probe's features, and the way from their weights to a vector."""
    scaled = standardised(examples)
    span = scaled.span()
    return span.coordinates, lambda weights: span.to_full(weights) * scaled.inverse


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# -- mean difference ------------------------------------------------------------------------------


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


# -- probe ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(40, 200), (200, 12), (30, 30)])
@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0])
def test_the_fit_is_that_of_scikit_learn(n: int, d: int, c: float) -> None:
    examples, _ = planted(n, d, gap=1.0, offset=50.0)
    features, back = standardised_features(examples)
    weights, intercept = fit_logistic(features, examples.is_positive, np.array([c]))
    scaler = StandardScaler().fit(examples.values)
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(
        scaler.transform(examples.values), examples.is_positive
    )
    expected = reference.coef_[0] / scaler.scale_
    found = back(weights[0])
    assert cosine(found, expected) >= 0.9999
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=1e-3)
    assert intercept[0] == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_all_c_at_once_are_the_same_as_one_by_one() -> None:
    examples, _ = planted(50, 80, gap=1.0)
    features, _ = standardised_features(examples)
    together, intercepts = fit_logistic(features, examples.is_positive, np.array(CANDIDATES))
    for k, c in enumerate(CANDIDATES):
        alone, intercept = fit_logistic(features, examples.is_positive, np.array([c]))
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-5, atol=1e-8)
        assert intercepts[k] == pytest.approx(intercept[0], abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 200), (200, 12)])
def test_the_probe_and_its_threshold_agree_with_scikit_learn(n: int, d: int) -> None:
    examples, _ = planted(n, d, gap=1.5, offset=50.0)
    # Uneven poles, so that the threshold is not half-way between the means.
    examples = examples.subset(np.r_[np.arange(0, n, 2), np.arange(1, n // 2, 2)])
    features, _ = standardised_features(examples)
    c, _ = choose_c(features, examples, seed=0)
    direction = probe(examples, OPTIONS)
    scaler = StandardScaler().fit(examples.values)
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(
        scaler.transform(examples.values), examples.is_positive
    )
    assert cosine(direction.vector, reference.coef_[0] / scaler.scale_) >= 0.9999
    logits = reference.decision_function(scaler.transform(examples.values))
    np.testing.assert_allclose(
        examples.values @ direction.vector - direction.threshold, logits, rtol=1e-3, atol=1e-4
    )


def test_c_is_the_best_on_held_out_groups_and_ties_go_to_the_strongest_penalty() -> None:
    examples, _ = planted(90, 40, gap=1.2, seed=5)
    features, _ = standardised_features(examples)
    accuracies = []
    for c in CANDIDATES:
        right = 0
        for mask in grouped_folds(examples, 3, seed=7):
            model = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(
                features[~mask], examples.is_positive[~mask]
            )
            right += int((model.predict(features[mask]) == examples.is_positive[mask]).sum())
        accuracies.append(right / 90)
    assert len(set(accuracies)) > 1, "the candidates must differ for this to show anything"
    c, accuracy = choose_c(features, examples, seed=7)
    assert accuracy == pytest.approx(max(accuracies))
    assert c == CANDIDATES[int(np.argmax(accuracies))]

    easy, _ = planted(60, 8, gap=40.0)
    assert choose_c(standardised_features(easy)[0], easy, 0) == (CANDIDATES[0], 1.0)
    one_group = Examples(easy.values, easy.is_positive, np.zeros(60, np.int64))
    c, accuracy = choose_c(standardised_features(one_group)[0], one_group, 0)
    assert c == CANDIDATES[0]
    assert np.isnan(accuracy)


def test_massive_activations_leave_the_probe_scikit_learns() -> None:
    examples, _ = planted(40, 300, gap=2.0)
    values = examples.values.copy()
    values[:, 3] = values[:, 3] * 1e4 + 1e6
    spoiled = Examples(values, examples.is_positive, examples.groups)
    c = fit_probe(spoiled, OPTIONS).c
    scaler = StandardScaler().fit(values)
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(
        scaler.transform(values), examples.is_positive
    )
    found = probe(spoiled, OPTIONS).vector / scaler.scale_.clip(1e-12) * scaler.var_
    assert cosine(found, reference.coef_[0]) >= 0.9999


@pytest.mark.parametrize("around", [None, 0])
@pytest.mark.parametrize("c", CANDIDATES)
def test_many_fits_are_scikit_learns_one_by_one(c: float, around: int | None) -> None:
    examples, _ = planted(60, 200, gap=1.0)
    features, _ = standardised_features(examples)
    rng = np.random.default_rng(0)
    counts = np.vstack([np.ones(60), rng.integers(0, 4, (4, 60))]).astype(float)
    target = np.tile(examples.is_positive.astype(float), (5, 1))
    target[3:] = rng.permuted(target[3:], axis=1)
    weights, intercepts = fit_many(features, target, counts, c, around=around)
    for row in range(5):
        reference = LogisticRegression(C=c, tol=1e-9, max_iter=10_000).fit(
            features, target[row], sample_weight=counts[row]
        )
        assert cosine(weights[row], reference.coef_[0]) >= 0.99999
        assert intercepts[row] == pytest.approx(reference.intercept_[0], abs=5e-3)


def test_the_l1_probe_is_sparse_and_scikit_learns() -> None:
    examples, _ = planted(80, 120, gap=0.0)
    values = examples.values.copy()
    values[:, 7] += np.where(examples.is_positive, 2.0, -2.0)
    examples = Examples(values, examples.is_positive, examples.groups)
    fitted = fit_probe(examples, MethodOptions(probe_penalty="l1"))
    scaled = standardised(examples)
    assert int(np.abs(fitted.direction.vector).argmax()) == 7
    assert np.count_nonzero(fitted.direction.vector) < 60
    reference = LogisticRegression(
        C=fitted.c, l1_ratio=1.0, solver="saga", tol=1e-7, max_iter=50_000
    ).fit(scaled.points, examples.is_positive)
    assert cosine(fitted.direction.vector, reference.coef_[0] * scaled.inverse) >= 0.999
    vectors = extract(
        values, examples.is_positive, methods=["probe"], options=MethodOptions(probe_penalty="l1")
    )
    assert cosine(vectors[0].vector, fitted.direction.vector) >= 0.999


# -- ICA ------------------------------------------------------------------------------------------


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


# -- gradient -------------------------------------------------------------------------------------


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


# -- the span -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(30, 200), (200, 30), (40, 40), (6, 2304)])
@pytest.mark.parametrize("largest", [1.0, 1e4, 1e7])
def test_the_span_keeps_every_inner_product(n: int, d: int, largest: float) -> None:
    examples, _ = planted(n, d)
    examples.values[:, 3] *= largest
    span = examples.reduced
    rows, basis = span.coordinates, span.to_full(np.eye(span.coordinates.shape[1]))
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-6)
    scale = np.linalg.norm(examples.centred, axis=1).max()
    np.testing.assert_allclose(rows @ basis, examples.centred, atol=1e-6 * scale)
    # The small dimensions are there as well, to a part of their own size.
    np.testing.assert_allclose((rows @ basis)[:, 5], examples.centred[:, 5], atol=1e-3)
    np.testing.assert_allclose(span.to_basis(examples.centred), rows, atol=1e-5 * scale)


def test_a_subset_takes_its_inner_products_with_it() -> None:
    examples, _ = planted(40, 300, offset=1e4)
    assert examples.gram.shape == (40, 40)
    for rows in (np.arange(40) % 3 > 0, np.array([5, 1, 1, 30])):
        part = examples.subset(rows)
        fresh = Examples(part.values, part.is_positive, part.groups)
        np.testing.assert_allclose(part.gram, fresh.gram, atol=1e-8)


# -- what all methods promise ---------------------------------------------------------------------


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


def extract(
    values: Array, is_positive: Any, *, dtype: torch.dtype = torch.float32, **options: Any
) -> Any:
    """Extract from one layer given as `[n, d]`, four examples to a question."""
    given: dict[str, Any] = {"layers": [0], "methods": DEFAULT, **options}
    return extract_vectors(
        torch.from_numpy(np.asarray(values)).to(dtype)[:, None],
        np.asarray(is_positive),
        np.arange(len(values)) // 4,
        **given,
    )


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


# -- folds ----------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    groups=st.lists(st.integers(-3, 12), min_size=2, max_size=60),
    labels=st.data(),
    n_folds=st.integers(2, 8),
    seed=st.integers(0, 5),
)
def test_folds_never_split_a_group(
    groups: list[int], labels: st.DataObject, n_folds: int, seed: int
) -> None:
    n = len(groups)
    is_positive = np.array(labels.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    examples = Examples(np.zeros((n, 2)), is_positive, np.array(groups))
    folds = grouped_folds(examples, n_folds, seed)
    assert len(folds) <= n_folds
    assert (np.sum(folds, axis=0) <= 1).all() if folds else True
    for mask in folds:
        assert mask.any()
        assert not set(np.array(groups)[mask]) & set(np.array(groups)[~mask])
        assert examples.subset(~mask).has_both_poles
    for one, two in zip(folds, grouped_folds(examples, n_folds, seed), strict=True):
        assert np.array_equal(one, two)


def test_folds_of_equal_groups_are_even_and_cover_everything() -> None:
    examples, _ = planted(80, 3)
    folds = grouped_folds(examples, 5, seed=0)
    assert [int(mask.sum()) for mask in folds] == [16] * 5
    assert np.array_equal(np.sum(folds, axis=0), np.ones(80))
    other = grouped_folds(examples, 5, seed=1)
    assert any(not np.array_equal(a, b) for a, b in zip(folds, other, strict=True))
