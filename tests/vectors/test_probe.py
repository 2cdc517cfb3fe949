"""The probe against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.vectors.planted_examples import OPTIONS, cosine, extract, planted, standardised_features
from traitvec_core.vectors import Examples, MethodOptions
from traitvec_core.vectors.examples import grouped_folds
from traitvec_core.vectors.logistic import fit_logistic, fit_many
from traitvec_core.vectors.probe import CANDIDATES, choose_c, fit_probe, probe, standardised


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
    # Uneven poles: the intercept is corrected for them.
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
    # The intercept that only says how many examples each pole has is left out.
    n_positive = examples.is_positive.sum()
    logits -= np.log(n_positive / (len(examples.values) - n_positive))
    np.testing.assert_allclose(
        examples.values @ direction.vector - direction.threshold, logits, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("n_negative", [8, 50])
def test_the_smaller_pole_is_called_as_rightly_as_the_larger(n_negative: int) -> None:
    """A strong penalty leaves little but the intercept, which would call nothing negative."""
    rng = np.random.default_rng(0)
    accuracies = []
    for seed in range(10):
        drawn, direction = planted(400, 30, gap=0.0, seed=seed, offset=0.0)
        values = drawn.values + np.where(drawn.is_positive, 1, -1)[:, None] * direction
        examples = Examples(values, drawn.is_positive, np.arange(400))
        rows = np.r_[
            np.flatnonzero(drawn.is_positive)[:100], np.flatnonzero(~drawn.is_positive)[:n_negative]
        ]
        fitted = probe(examples.subset(rng.permutation(rows)), OPTIONS)
        right = (values @ fitted.vector > fitted.threshold) == drawn.is_positive
        new = np.setdiff1d(np.arange(400), rows)
        accuracies.append([
            right[new][drawn.is_positive[new] == pole].mean() for pole in (True, False)
        ])  # fmt: skip
    positive, negative = np.mean(accuracies, axis=0)
    print(positive, negative)
    assert min(positive, negative) > 0.55
    assert abs(positive - negative) < 0.2


def test_c_is_chosen_by_balanced_accuracy() -> None:
    """One that always calls the larger pole is right in 92 of 100 rows, and gets 0.5."""
    drawn, _ = planted(400, 60, gap=0.0)
    rows = np.r_[np.flatnonzero(drawn.is_positive)[:184], np.flatnonzero(~drawn.is_positive)[:16]]
    accuracies = []
    for seed in range(8):
        values = np.random.default_rng(seed).standard_normal((200, 60))
        noise = Examples(values, drawn.is_positive[rows], np.arange(200) % 10)
        accuracies.append(choose_c(standardised_features(noise)[0], noise, 0)[1])
    # The best of four on noise.
    assert 0.4 < np.mean(accuracies) < 0.65


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
