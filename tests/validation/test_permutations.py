"""Swapped labels: the whole procedure with other labels, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.validation.crossed_design import Crossed, crossed
from traitvec_core.validation.held_out import Split, split_examples
from traitvec_core.validation.labelings import Labelings, swap_poles
from traitvec_core.validation.permutations import permuted_scores, rank_score
from traitvec_core.vectors import METHODS, Examples, MethodOptions


def by_hand(margins: np.ndarray, truth: np.ndarray, split: Split) -> float:
    """Mann and Whitney's U over folds, standardised."""
    won = expected = variance = 0.0
    for fold in split.folds:
        positive, negative = margins[fold.test & truth], margins[fold.test & ~truth]
        n, m = len(positive), len(negative)
        if n and m:
            won += mannwhitneyu(positive, negative).statistic
            expected += n * m / 2
            variance += n * m * (n + m + 1) / 12
    return (won - expected) / np.sqrt(variance)


def test_a_labeling_is_the_whole_procedure_with_other_labels() -> None:
    data = crossed(2.0, n_questions=6, n_pairs=4, n_layers=3, d=40)
    split = data.split
    swapped = [swap_poles(data.is_positive, groups, 3) for groups in (data.pairs, data.questions)]
    tables = permuted_scores(data.activations, split, swapped, layers=[0, 2], c=1e-2)
    for table, labelings in zip(tables, swapped, strict=True):
        assert table.shape == (4, 4)
        for row, truth in zip(table, labelings.labels > 0.5, strict=True):
            for column, layer in enumerate((0, 2)):
                values = data.activations[:, layer].numpy()
                margins = np.full((2, len(values)), np.nan)
                for fold in split.folds:
                    part, at = fold.training, fold.test
                    training = Examples(values[part], truth[part], data.pairs[part])
                    direction = METHODS["mean_diff"](training, MethodOptions()).vector
                    scaler = StandardScaler().fit(values[part])
                    model = LogisticRegression(C=1e-2, tol=1e-9, max_iter=10_000).fit(
                        scaler.transform(values[part]), truth[part]
                    )
                    margins[0, at] = values[at] @ direction
                    margins[1, at] = model.decision_function(scaler.transform(values[at]))
                for method in (0, 1):
                    expected = by_hand(margins[method], truth, split)
                    assert row[2 * column + method] == pytest.approx(expected, abs=1e-6)


def test_the_true_labels_score_as_the_held_out_vector_does() -> None:
    data = crossed(1.0)
    held_out = data.held_out("mean_diff")
    labelings = swap_poles(data.is_positive, data.pairs, 15)
    [table] = permuted_scores(data.activations, held_out, [labelings], layers=[1])
    margins = held_out.margins["mean_diff", 1]
    assert table[0, 0] == pytest.approx(rank_score(margins, held_out))
    assert rank_score(margins, held_out) == pytest.approx(
        by_hand(margins, data.is_positive, held_out)
    )


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), gap=st.floats(0, 3), uneven=st.booleans())
def test_swapping_all_pairs_changes_nothing(seed: int, gap: float, uneven: bool) -> None:
    """The mirror image separates the same, so only half of the labelings are compared with."""
    data = crossed(gap, n_questions=4, n_pairs=3, d=10, seed=seed)
    if uneven:
        data = data.rows(np.flatnonzero(data.is_positive | (data.questions > 0)))
    truth = data.is_positive.astype(float)
    both = Labelings(np.array([truth, 1 - truth]), 3, 4)
    [table] = permuted_scores(data.activations, data.split, [both], layers=[0, 1])
    np.testing.assert_allclose(table[0], table[1], atol=1e-6)
    held_out, other = (
        Crossed(data.activations, labels, data.questions, data.pairs).held_out("mean_diff")
        for labels in (data.is_positive, ~data.is_positive)
    )
    for place, margins in held_out.margins.items():
        expected = rank_score(margins, held_out)
        assert rank_score(other.margins[place], other) == pytest.approx(expected, abs=1e-6), place


def test_the_rank_score_of_noise_has_deviation_one_and_does_not_depend_on_scale() -> None:
    data = crossed(n_questions=10, n_pairs=5)
    split, rng = data.split, np.random.default_rng(0)
    margins = rng.standard_normal((500, 100))
    scores = np.array([rank_score(row, split) for row in margins])
    assert scores.mean() == pytest.approx(0, abs=0.15)
    assert scores.std() == pytest.approx(1, abs=0.1)
    assert rank_score(5 * margins[0], split) == scores[0]


def test_a_rank_score_without_two_poles_to_compare_is_zero() -> None:
    split = split_examples(np.array([True, False, True, False]), np.array([0, 1, 2, 3]))
    assert rank_score(np.array([1.0, -1.0, 1.0, -1.0]), split) == 0.0
