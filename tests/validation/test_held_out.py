"""What is held out together, and projections on vectors that have not seen an example."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.validation.crossed_design import crossed
from traitvec_core.errors import TraitvecError
from traitvec_core.validation.held_out import choice_groups, hold_out, split_examples

Known = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def any_design(draw: st.DrawFn) -> Known:
    """Rows of any poles, questions and pairs."""
    n = draw(st.integers(2, 60))
    numbers = st.lists(st.integers(0, 8), min_size=n, max_size=n)
    poles = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(poles), np.array(draw(numbers)), np.array(draw(numbers))


@given(design=any_design(), seed=st.integers(0, 3), with_pairs=st.booleans())
def test_no_fold_trains_on_a_question_or_pair_of_its_test(
    design: Known, seed: int, with_pairs: bool
) -> None:
    is_positive, questions, pairs = design
    split = split_examples(is_positive, questions, pairs if with_pairs else None, seed)
    assert len(split.folds) != 1
    for fold in split.folds:
        assert fold.test.any()
        assert not (fold.test & fold.training).any()
        assert not set(questions[fold.test]) & set(questions[fold.training])
        if with_pairs and len(np.unique(pairs)) > 1:
            assert not set(pairs[fold.test]) & set(pairs[fold.training])
        inside = is_positive[fold.training]
        assert inside.any()
        assert not inside.all()
    times = np.sum([fold.test for fold in split.folds], axis=0) if split.folds else np.zeros(1)
    assert times.max() <= 1
    assert np.array_equal(split.is_scored, np.broadcast_to(times > 0, split.is_scored.shape))


@given(
    n_questions=st.integers(2, 12),
    n_pairs=st.integers(2, 12),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_every_row_of_a_crossed_design_is_tested_once_in_whatever_order(
    n_questions: int, n_pairs: int, seed: int, order: "st.randoms"
) -> None:
    pole, questions, pairs = np.indices((2, n_questions, n_pairs)).reshape(3, -1)
    split = split_examples(pole == 0, questions, pairs, seed)
    assert len(split.folds) == min(n_questions, 3) * min(n_pairs, 5)
    assert (np.sum([fold.test for fold in split.folds], axis=0) == 1).all()
    assert split.n_clusters == min(n_questions, n_pairs)
    rows = list(range(len(pole)))
    order.shuffle(rows)
    mixed = split_examples(pole[rows] == 0, questions[rows], pairs[rows], seed)
    for one, other in zip(split.folds, mixed.folds, strict=True):
        assert np.array_equal(one.test[rows], other.test)
        assert np.array_equal(one.training[rows], other.training)


def test_without_several_pairs_questions_are_held_out_alone() -> None:
    data = crossed(n_questions=10, n_pairs=1)
    for pairs in (None, data.pairs):
        split = split_examples(data.is_positive, data.questions, pairs)
        assert len(split.folds) == 5
        assert all((fold.test ^ fold.training).all() for fold in split.folds)
        assert split.crossed_pairs is None
        assert split.n_clusters == 10
    assert split.n_pairs == 1


def test_one_question_allows_no_folds() -> None:
    data = crossed(n_questions=1)
    assert data.split.folds == []
    held_out = data.held_out("mean_diff")
    assert held_out.margins == {}
    assert not held_out.is_scored.any()


def test_a_probe_chooses_its_penalty_on_held_out_pairs_where_there_are_three() -> None:
    questions = np.arange(6)
    assert choice_groups(questions, np.arange(6) % 3).tolist() == [0, 1, 2, 0, 1, 2]
    assert choice_groups(questions, np.arange(6) % 2).tolist() == questions.tolist()
    assert choice_groups(questions, None).tolist() == questions.tolist()


def test_a_margin_is_the_distance_to_the_threshold_of_a_vector_that_has_not_seen_the_row() -> None:
    data = crossed(2.0)
    opposite = torch.flip(data.activations, [0])
    held_out = data.held_out("mean_diff", layers=(1,), opposite=opposite)
    values, again = (each[:, 1].numpy() for each in (data.activations, opposite))
    accuracies = []
    for fold in held_out.folds:
        positive = values[fold.training & data.is_positive].mean(axis=0)
        negative = values[fold.training & ~data.is_positive].mean(axis=0)
        unit = (positive - negative) / np.linalg.norm(positive - negative)
        middle = (positive + negative) / 2 @ unit
        for table, rows in ((held_out.margins, values), (held_out.opposite_margins, again)):
            expected = rows[fold.test] @ unit - middle
            np.testing.assert_allclose(table["mean_diff", 1][fold.test], expected, atol=1e-9)
        right = (values[fold.training] @ unit > middle) == data.is_positive[fold.training]
        accuracies.append(right.mean())
    assert held_out.train_accuracies["mean_diff", 1] == pytest.approx(np.mean(accuracies))


def test_the_embeddings_the_probe_and_the_control_are_always_measured() -> None:
    held_out = crossed(2.0, n_layers=3).held_out("mean_diff", layers=(2,))
    assert held_out.layers == [0, 2]
    assert set(held_out.margins) == {
        (method, layer) for method in ("mean_diff", "probe", "random") for layer in (0, 2)
    }
    assert held_out.opposite_margins == {}


def test_the_probes_layer_is_chosen_inside_each_training_split() -> None:
    data = crossed(8.0, n_layers=4)
    held_out = data.held_out("mean_diff", layers=(1, 2, 3))
    assert (held_out.inner_accuracy[:, 0] == -1).all()
    for fold, inner in zip(held_out.folds, held_out.inner_accuracy, strict=True):
        chosen = held_out.layers[int(inner.argmax())]
        expected = held_out.margins["probe", chosen][fold.test]
        assert np.array_equal(held_out.probe_margins[fold.test], expected)
    # Only the last layer has a trait.
    assert (held_out.inner_accuracy.argmax(axis=1) == 3).mean() > 0.9


def test_embeddings_that_are_the_same_for_all_separate_nothing() -> None:
    """At the last token of a prompt, every row 0 is the same."""
    data = crossed(8.0)
    data.activations[:, 0] = 1.0
    held_out = data.held_out("mean_diff")
    assert (held_out.margins["probe", 0] == 0).all()
    assert held_out.train_accuracies["probe", 0] == 0.5
    with pytest.raises(TraitvecError, match="no direction"):
        hold_out(data.activations, data.split, layers=[0], methods=["mean_diff"])
