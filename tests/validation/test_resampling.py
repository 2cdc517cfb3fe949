"""Permutations and bootstraps against the same thing done by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from traitvec_core.errors import TraitvecError
from traitvec_core.validation.held_out import N_FOLDS, hold_out, resampled
from traitvec_core.validation.resampling import (
    bootstrap_auroc,
    bootstrap_stability,
    draw_labels,
    permute_labels,
)
from traitvec_core.validation.separation import measure_separation
from traitvec_core.vectors import METHODS, MethodOptions
from traitvec_core.vectors.examples import Array, Examples, grouped_folds
from traitvec_core.vectors.extract import layer_examples
from traitvec_core.vectors.probe import fit_probe, standardised


def data(gap: float, seed: int = 0, n: int = 48, d: int = 150, layers: int = 3) -> tuple:
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n) < n // 2
    groups = np.arange(n) % 12
    values = rng.standard_normal((n, layers, d)) + rng.standard_normal((12, layers, d))[groups]
    values[:, :, 0] += np.where(is_positive, gap / 2, -gap / 2)[:, None]
    return torch.from_numpy(values), is_positive, groups


def test_a_permutation_is_the_whole_procedure_with_other_labels() -> None:
    activations, is_positive, groups = data(3.0)
    found = permute_labels(
        activations, is_positive, groups, layers=[0, 2], n_permutations=3, c=1e-2
    )
    first = layer_examples(activations, 0, is_positive, groups)
    folds = grouped_folds(first, N_FOLDS, 0)
    labels, n_movable = draw_labels(first, np.ones(48, bool), 3, 0)
    assert n_movable == 48
    for row, truth in enumerate(labels > 0.5):
        for group in range(12):
            assert truth[groups == group].sum() == 2
        for column, layer in enumerate([0, 2]):
            values = activations[:, layer].numpy()
            above, pairs = np.zeros(2), 0
            for mask in folds:
                training = Examples(values[~mask], truth[~mask], groups[~mask])
                direction = METHODS["mean_diff"](training, MethodOptions()).vector
                scaler = StandardScaler().fit(values[~mask])
                model = LogisticRegression(C=1e-2, tol=1e-9, max_iter=10_000).fit(
                    scaler.transform(values[~mask]), truth[~mask]
                )
                n = truth[mask].sum() * (~truth[mask]).sum()
                logits = model.decision_function(scaler.transform(values[mask]))
                for index, scores in enumerate((values[mask] @ direction, logits)):
                    above[index] += n * roc_auc_score(truth[mask], scores)
                pairs += n
            for index, result in enumerate(found):
                figure = result.observed[column] if row == 0 else result.null[row - 1, column]
                assert figure == pytest.approx(above[index] / pairs, abs=1e-9)


def test_p_values_count_the_observed_labels_among_the_permutations() -> None:
    activations, is_positive, groups = data(8.0)
    both, _ = together = permute_labels(
        activations, is_positive, groups, layers=[0, 1], n_permutations=19, c=0.1
    )
    for result in together:
        assert result.p_values.tolist() == [1 / 20, 1 / 20]
        assert result.best_layer_p_value == 1 / 20
    # The same permutations at every layer, in whichever company.
    alone = permute_labels(activations, is_positive, groups, layers=[1], n_permutations=19)[0]
    np.testing.assert_array_equal(alone.null[:, 0], both.null[:, 1])


def test_without_a_difference_small_p_values_are_as_rare_as_they_say() -> None:
    p_values = np.array([
        result.best_layer_p_value
        for seed in range(40)
        for result in permute_labels(
            *data(0.0, seed, d=40, layers=2), layers=[0, 1], n_permutations=39, seed=seed
        )
    ])  # fmt: skip
    assert (p_values <= 0.1).mean() < 0.25
    assert 0.3 < p_values.mean() < 0.7


def test_labels_that_cannot_move_are_no_test() -> None:
    activations, is_positive, _ = data(3.0)
    with pytest.raises(TraitvecError, match="question with both poles"):
        permute_labels(activations, is_positive, np.arange(48), layers=[0])
    with pytest.raises(TraitvecError, match="two questions"):
        permute_labels(activations, is_positive, np.zeros(48, int), layers=[0])


@pytest.mark.parametrize("d", [150, 20])
@pytest.mark.parametrize("method", ["mean_diff", "probe", "gradient", "ica"])
def test_stability_is_the_cosine_with_a_fit_to_the_drawn_questions(method: str, d: int) -> None:
    activations, is_positive, groups = data(4.0, d=d, layers=1)
    found = bootstrap_stability(
        activations, is_positive, groups, layers=[0], methods=[method], n_resamples=6
    )[0]
    examples = layer_examples(activations, 0, is_positive, groups)
    questions, counts = resampled(groups, 6, 0)
    assert (questions.sum(axis=1) == 12).all()
    fit = fit_probe(examples, MethodOptions())

    def vector(rows: Array) -> Array:
        if method != "probe":
            return METHODS[method](examples.subset(rows), MethodOptions()).vector
        scaled = standardised(examples)
        model = LogisticRegression(C=fit.c, tol=1e-9, max_iter=10_000)
        return model.fit(scaled.points[rows], is_positive[rows]).coef_[0] * scaled.inverse

    whole = vector(np.arange(48))
    cosines = []
    for count in counts:
        other = vector(np.repeat(np.arange(48), count.astype(int)))
        cosines.append(whole @ other / np.linalg.norm(whole) / np.linalg.norm(other))
    assert found.cosine.value == pytest.approx(np.mean(cosines), abs=1e-4)
    assert found.cosine.low == pytest.approx(np.percentile(cosines, 2.5), abs=1e-4)
    assert found.n_resamples == 6


def test_the_interval_is_over_questions_and_holds_the_figure() -> None:
    given = data(1.5)
    methods = ["mean_diff", "gradient", "ica"]
    held_out = hold_out(*given, layers=[1], methods=methods)
    separation = measure_separation(*given, layers=[1], methods=methods)
    intervals = bootstrap_auroc(held_out, n_resamples=300)
    assert len(intervals) == 5 * 2
    assert intervals == bootstrap_auroc(held_out, n_resamples=300)
    for interval in intervals:
        score = separation.of(interval.method, interval.layer)
        assert score is not None
        assert interval.auroc.value is not None
        assert interval.auroc.value == pytest.approx(score.auroc.value)
        assert interval.auroc.interval is not None
        low, high = interval.auroc.interval
        assert 0 <= low <= interval.auroc.value <= high <= 1
        assert low < high


def test_a_draw_weighs_every_pair_of_its_questions() -> None:
    activations, is_positive, groups = data(1.5)
    held_out = hold_out(activations, is_positive, groups, layers=[1], methods=["mean_diff"])
    interval = bootstrap_auroc(held_out, n_resamples=1, seed=3)[0]
    count = resampled(groups, 1, 3)[1][0]
    above = pairs = 0.0
    for mask in held_out.folds:
        margins = held_out.margins[interval.method, interval.layer]
        for i in np.flatnonzero(mask & is_positive):
            for j in np.flatnonzero(mask & ~is_positive):
                above += count[i] * count[j] * (margins[i] > margins[j])
                pairs += count[i] * count[j]
    assert interval.auroc.low == pytest.approx(above / pairs)
