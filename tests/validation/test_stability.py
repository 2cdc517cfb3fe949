"""Stability: cosines of resampled vectors by hand, and the floor that noise reaches."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.validation.crossed_design import crossed
from traitvec_core.errors import TraitvecError
from traitvec_core.validation.checks.stability import check_stability
from traitvec_core.validation.draws import resampled
from traitvec_core.validation.held_out import split_examples
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.validation.stability import Stability, measure_stability
from traitvec_core.vectors import METHODS, MethodOptions
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.extract import layer_examples
from traitvec_core.vectors.probe import fit_probe, standardised


@pytest.mark.parametrize(
    ("method", "d"),
    [("mean_diff", 80), ("mean_diff", 20), ("probe", 80), ("probe", 20), ("gradient", 80),
     ("gradient", 20), ("ica", 80)],
)  # fmt: skip
def test_it_is_the_cosine_with_a_fit_to_the_drawn_groups(method: Any, d: int) -> None:
    data = crossed(4.0, n_questions=6, n_pairs=4, d=d)
    found = measure_stability(data.activations, data.split, method=method, layer=1)
    examples = layer_examples(data.activations, 1, data.is_positive, data.pairs)
    fit = fit_probe(examples, MethodOptions())

    def vector(rows: Array) -> Array:
        if method != "probe":
            return METHODS[method](examples.subset(rows), MethodOptions()).vector
        scaled = standardised(examples)
        model = LogisticRegression(C=fit.c, tol=1e-9, max_iter=10_000)
        return model.fit(scaled.points[rows], data.is_positive[rows]).coef_[0] * scaled.inverse

    n = len(data.pairs)
    whole = vector(np.arange(n))
    assert [each.of for each in found.resampled] == ["questions", "instruction pairs"]
    for each, groups in zip(found.resampled, (data.questions, data.pairs), strict=True):
        cosines = []
        for count in resampled(groups, each.n_resamples, 0)[1]:
            other = vector(np.repeat(np.arange(n), count.astype(int)))
            cosines.append(whole @ other / np.linalg.norm(whole) / np.linalg.norm(other))
        assert each.cosine.value == pytest.approx(np.mean(cosines), abs=1e-4)
        assert each.cosine.low == pytest.approx(np.percentile(cosines, 2.5), abs=1e-4)
        assert each.noise is not None
        assert each.noise < 1
    assert found.weakest is min(found.resampled, key=lambda each: each.cosine.value or 0)


def test_the_floor_is_the_same_with_swapped_pairs() -> None:
    data = crossed(4.0, n_questions=6, n_pairs=4)
    found = measure_stability(data.activations, data.split, method="mean_diff", layer=1)
    values = data.activations[:, 1].numpy()

    def vector(labels: Array, counts: Array) -> Array:
        positive, negative = labels * counts, (1 - labels) * counts
        return positive @ values / positive.sum() - negative @ values / negative.sum()

    swapped = swap_poles(data.is_positive, data.pairs, 19).labels[1:]
    assert len(swapped) == 7
    for each, groups in zip(found.resampled, (data.questions, data.pairs), strict=True):
        # The first ten of the draws.
        counts = resampled(groups, each.n_resamples, 0)[1][:10]
        means = []
        for labels in swapped:
            whole = vector(labels, np.ones(len(labels)))
            others = [vector(labels, count) for count in counts]
            means.append(
                np.mean([whole @ v / np.linalg.norm(whole) / np.linalg.norm(v) for v in others])
            )
        assert each.noise == pytest.approx(np.percentile(means, 95))


@pytest.mark.parametrize("method", ["mean_diff", "probe"])
def test_noise_does_not_exceed_its_floor_and_a_trait_does(method: Any) -> None:
    def above(gap: float, seed: int) -> bool:
        data = crossed(gap, n_questions=8, n_pairs=6, d=40, seed=seed)
        found = measure_stability(data.activations, data.split, method=method, layer=1)
        return all((each.cosine.value or 0) > (each.noise or 1) for each in found.resampled)

    assert sum(above(0.0, seed) for seed in range(12)) <= 3
    assert all(above(8.0, seed) for seed in range(4))


def test_a_vector_of_single_texts_changes_with_the_pairs_and_not_with_the_questions() -> None:
    data = crossed(n_questions=12, n_pairs=5, d=60, text_sd=3.0)
    found = measure_stability(data.activations, data.split, method="mean_diff", layer=1)
    by_name = {each.of: each.cosine.value or 0.0 for each in found.resampled}
    assert by_name["questions"] > 0.95
    assert by_name["instruction pairs"] < 0.9
    assert found.weakest is not None
    assert found.weakest.of == "instruction pairs"
    assert check_stability(found).verdict != "pass"


def test_without_several_pairs_only_questions_are_drawn() -> None:
    data = crossed(4.0, n_questions=8, n_pairs=1)
    for pairs in (None, data.pairs):
        split = split_examples(data.is_positive, data.questions, pairs)
        found = measure_stability(data.activations, split, method="mean_diff", layer=1)
        assert [each.of for each in found.resampled] == ["questions"]
        assert found.resampled[0].noise is not None


def test_labels_that_cannot_be_swapped_leave_no_floor() -> None:
    data = crossed(4.0)
    alone = split_examples(data.is_positive, np.arange(60), None)
    found = measure_stability(data.activations, alone, method="mean_diff", layer=1)
    assert found.resampled[0].noise is None
    assert Stability.model_validate_json(found.model_dump_json()) == found


def test_draws_without_both_poles_are_an_error() -> None:
    data = crossed(4.0)
    split = split_examples(data.is_positive, np.zeros(60, int), np.where(data.is_positive, 0, 1))
    one_pole_each = split_examples(data.is_positive, data.is_positive.astype(int), None)
    found = measure_stability(data.activations, one_pole_each, method="mean_diff", layer=1)
    assert 0 < found.resampled[0].n_resamples < 100
    few = measure_stability(data.activations, split, method="mean_diff", layer=1)
    assert few.resampled[0].n_resamples == 100
    empty = split_examples(np.ones(4, bool), np.arange(4), None)
    with pytest.raises(TraitvecError, match="no draw of questions has both poles"):
        measure_stability(data.activations[:4], empty, method="mean_diff", layer=1)
