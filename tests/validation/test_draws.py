"""Figures over drawn questions and pairs, against the same rows written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.validation.crossed_design import crossed
from traitvec_core.validation.draws import crossed_draws, resampled, score_draws
from traitvec_core.validation.held_out import split_examples


def margins_of(split: object, gap: float = 0.8, seed: int = 1) -> np.ndarray:
    is_positive = split.is_positive  # type: ignore[attr-defined]
    noise = np.random.default_rng(seed).standard_normal(len(is_positive))
    return noise + np.where(is_positive, gap / 2, -gap / 2)


def test_a_draw_counts_every_row_as_often_as_its_question_times_its_pair() -> None:
    data = crossed(n_questions=8, n_pairs=5)
    # Uneven poles, so that balanced accuracy is another thing than accuracy.
    data = data.rows(np.flatnonzero(data.is_positive | (np.arange(80) % 3 > 0)))
    split = data.split
    margins = margins_of(split)
    draws = score_draws(margins, split, n_resamples=6, seed=3)
    counts = crossed_draws(split, 6, 3).astype(int)
    for index, count in enumerate([np.ones(len(margins), int), *counts]):
        for one in np.unique(data.questions):
            for pair in np.unique(data.pairs):
                inside = count[(data.questions == one) & (data.pairs == pair)]
                assert (inside == inside[:1]).all()
        rows = np.repeat(np.arange(len(margins)), count)
        own, truth = margins[rows], data.is_positive[rows]
        right = (own > 0) == truth
        gap = own[truth].mean() - own[~truth].mean()
        scatter = truth.sum() * own[truth].var() + (~truth).sum() * own[~truth].var()
        above, pairs = 0.0, 0
        for fold in split.folds:
            inside = fold.test[rows]
            n = int((inside & truth).sum() * (inside & ~truth).sum())
            if n:
                above += n * roc_auc_score(truth[inside], own[inside])
                pairs += n
        expected = {
            "balanced_accuracy": (right[truth].mean() + right[~truth].mean()) / 2,
            "separation": gap,
            "effect_size": gap / np.sqrt(scatter / (len(rows) - 2)),
            "auroc": above / pairs,
        }
        for name, value in expected.items():
            assert draws[name][index] == pytest.approx(value), name  # type: ignore[index]


def test_questions_and_pairs_are_drawn_independently() -> None:
    """Equally many of both must not be drawn alike."""
    data = crossed(n_questions=6, n_pairs=6)
    counts = crossed_draws(data.split, 400, 0)
    by_question = np.array([counts[:, data.questions == k].sum(axis=1) for k in range(6)])
    by_pair = np.array([counts[:, data.pairs == k].sum(axis=1) for k in range(6)])
    assert abs(np.corrcoef(by_question.ravel(), by_pair.ravel())[0, 1]) < 0.15
    assert counts.mean() == pytest.approx(1.0, abs=0.05)


def test_as_many_groups_are_drawn_as_there_are() -> None:
    groups = np.array([4, 4, 9, 2, 9, 7])
    of_group, of_row = resampled(groups, 50, 0)
    assert (of_group.sum(axis=1) == 4).all()
    assert np.array_equal(of_row[:, 0], of_row[:, 1])
    assert np.array_equal(of_row[:, 3], of_group[:, 0])
    assert np.array_equal(of_row, resampled(groups, 50, 0)[1])


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), gap=st.floats(-3, 3))
def test_renaming_the_poles_changes_no_figure(seed: int, gap: float) -> None:
    data = crossed(n_questions=4, n_pairs=3)
    split = data.split
    margins = margins_of(split, gap, seed)
    other = split_examples(~data.is_positive, data.questions, data.pairs)
    one, mirrored = score_draws(margins, split, n_resamples=5), score_draws(
        -margins, other, n_resamples=5
    )  # fmt: skip
    for name, values in one.items():
        np.testing.assert_allclose(values, mirrored[name], atol=1e-9, err_msg=name)


def test_what_calls_everything_positive_is_a_coin_however_uneven_the_poles() -> None:
    data = crossed(n_questions=20, n_pairs=5)
    negatives = np.flatnonzero(~data.is_positive)[::13]
    rows = np.r_[np.flatnonzero(data.is_positive), negatives]
    assert (data.is_positive[rows].sum(), len(negatives)) == (100, 8)
    split = data.rows(rows).split
    draws = score_draws(np.full(len(rows), 2.0), split)
    assert draws["balanced_accuracy"][0] == draws["auroc"][0] == 0.5
    assert np.nanmax(np.abs(draws["balanced_accuracy"] - 0.5)) == 0
    assert draws["effect_size"][0] == 0.0


def test_a_draw_without_a_pole_is_undefined_and_not_zero() -> None:
    split = split_examples(np.array([True, False, True, False]), np.array([0, 1, 2, 3]))
    draws = score_draws(np.array([1.0, -1.0, 1.0, -1.0]), split, n_resamples=60)
    for name in ("balanced_accuracy", "separation"):
        assert np.isnan(draws[name][1:]).any()  # type: ignore[index]
        assert np.isfinite(draws[name][1:]).any()  # type: ignore[index]
