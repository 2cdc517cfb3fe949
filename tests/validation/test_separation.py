"""Held-out figures: intervals, cosines, balanced poles, and the winner's figures on noise."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.validation.crossed_design import Crossed, crossed
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.storage.formats import dump_json
from traitvec_core.validation.held_out import hold_out, split_examples
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.separation import (
    Separation,
    SeparationScore,
    cosines_between_methods,
    cosines_with_previous,
    measure_separation,
    score_separation,
)
from traitvec_core.vectors import extract_vectors


def measure(
    data: Crossed,
    layers: tuple[int, ...] = (1,),
    methods: tuple[VectorMethod, ...] = ("mean_diff",),
    **given: Any,
) -> Separation:
    return measure_separation(
        data.activations, data.is_positive, data.questions, data.pairs, layers=layers,
        methods=methods, **given,
    )  # fmt: skip


def value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def assert_inside(estimate: Estimate) -> None:
    assert estimate.interval is not None
    low, high = estimate.interval
    assert low <= value(estimate) <= high
    assert low < high


def test_every_figure_lies_in_its_interval_and_survives_json() -> None:
    data = crossed(2.5, n_questions=8)
    separation = measure(data)
    assert separation == score_separation(data.held_out("mean_diff"))
    assert len(separation.scores) == 3 * 2
    for score in separation.scores:
        for estimate in (score.accuracy, score.auroc, score.effect_size, score.separation):
            assert_inside(estimate)
        for share in (score.accuracy, score.auroc):
            assert 0 <= (share.low or 0) <= (share.high or 1) <= 1
    assert_inside(separation.probe_accuracy)
    assert (separation.n_folds, separation.n_held_out) == (15, 80)
    assert (separation.n_questions, separation.n_pairs) == (8, 5)
    assert Separation.model_validate_json(separation.model_dump_json()) == separation
    # In files, an undefined value is null.
    undefined = separation.scores[0].model_copy(
        update={"effect_size": Estimate(value=float("nan"), low=float("nan"))}
    )
    read = SeparationScore.model_validate_json(dump_json(undefined.model_dump()))
    assert read.effect_size == Estimate()


def test_what_was_held_out_is_said_in_words() -> None:
    data = crossed(2.0)
    assert measure(data).held_out_by == "questions and instruction pairs that it has not seen"
    for pairs, n_pairs in ((None, None), (0 * data.pairs, 1)):
        separation = measure(data._replace(pairs=pairs))
        assert separation.held_out_by == "questions that it has not seen"
        assert separation.n_pairs == n_pairs


def test_nothing_held_out_has_no_figures() -> None:
    separation = measure(crossed(2.0, n_questions=1))
    assert separation.scores == []
    assert separation.winner is None
    assert separation.probe_accuracy == Estimate()
    assert recommend(separation, [("mean_diff", 1)]) is None


def test_noise_with_100_positives_and_8_negatives_is_called_at_random() -> None:
    """Accuracy would be 0.926 for a classifier that knows nothing."""
    accuracies = []
    for seed in range(10):
        data = crossed(n_questions=20, n_pairs=5, d=30, seed=seed)
        rng = np.random.default_rng(seed)
        negatives = rng.choice(np.flatnonzero(~data.is_positive), 8, replace=False)
        data = data.rows(np.r_[np.flatnonzero(data.is_positive), negatives])
        separation = measure(data)
        of_mean_diff = separation.of("mean_diff", 1)
        assert of_mean_diff is not None
        accuracies.append((value(separation.probe_accuracy), value(of_mean_diff.accuracy)))
    print(np.round(accuracies, 2).tolist())
    assert np.mean(accuracies, axis=0) == pytest.approx(0.5, abs=0.08)
    assert np.max(accuracies) < 0.8


def test_what_single_texts_do_is_held_out_with_their_pair() -> None:
    """A vector of the texts looks good on new questions, and is nothing on new texts."""
    together, questions_only = [], []
    for seed in range(8):
        data = crossed(n_questions=9, n_pairs=6, d=40, seed=seed, text_sd=1.5)
        for pairs, figures in ((data.pairs, together), (None, questions_only)):
            score = measure(data._replace(pairs=pairs)).of("mean_diff", 1)
            assert score is not None
            figures.append(value(score.accuracy))
    assert np.mean(questions_only) > 0.9
    assert np.mean(together) == pytest.approx(0.5, abs=0.1)


# -- the winner -----------------------------------------------------------------------------------


def winner_and_best(data: Crossed, layers: tuple[int, ...], with_pairs: bool) -> tuple[float, ...]:
    pairs = data.pairs if with_pairs else None
    separation = measure(data._replace(pairs=pairs), layers)
    assert separation.winner is not None
    best = max(
        value(score.effect_size)
        for score in separation.scores
        if score.layer != 0 and score.method != "random"
    )
    low = separation.winner.effect_size.low
    assert low is not None
    return value(separation.winner.effect_size), best, low


@pytest.mark.slow
def test_the_best_of_many_layers_of_noise_has_no_effect() -> None:
    layers = tuple(range(1, 7))
    found = np.array([
        winner_and_best(
            crossed(n_questions=8, n_pairs=6, n_layers=7, d=12, seed=seed), layers, True
        )
        for seed in range(20)
    ])  # fmt: skip
    winner, best, low = found.T
    print(winner.mean(), best.mean(), (low > 0).mean())
    # Having won is worth a fifth of a deviation.
    assert best.mean() > 0.18
    assert abs(winner.mean()) < 0.1
    assert (low > 0).mean() <= 0.1


def test_without_pairs_the_winner_is_corrected_on_other_questions() -> None:
    layers = (1, 2, 3, 4)
    found = np.array([
        winner_and_best(
            crossed(n_questions=12, n_pairs=4, n_layers=5, d=12, seed=seed), layers, False
        )
        for seed in range(10)
    ])  # fmt: skip
    winner, best, _ = found.T
    assert winner.mean() < 0.8 * best.mean()


def test_a_trait_is_hardly_lowered_and_the_place_is_the_best_ones() -> None:
    data = crossed(5.0, n_questions=8, n_pairs=6, n_layers=5)
    winner, best, low = winner_and_best(data, (1, 2, 3, 4), True)
    assert 0.85 * best < winner <= 1.05 * best
    assert low > 0
    separation = measure(data, (1, 2, 3, 4))
    assert separation.winner is not None
    assert separation.winner.layer == 4
    chosen = recommend(separation, [(score.method, score.layer) for score in separation.scores])
    assert chosen is not None
    assert chosen.place == (separation.winner.method, 4)
    assert separation.winner.effect_size.format(".2f") in chosen.why
    assert "corrected for being the best of many" in chosen.why


# -- cosines --------------------------------------------------------------------------------------


def test_cosines_between_methods_and_with_the_last_time() -> None:
    data = crossed(2.0, d=80)
    vectors = extract_vectors(
        data.activations, data.is_positive, data.pairs, layers=[0, 1],
        methods=["mean_diff", "probe", "random"],
    )  # fmt: skip
    between = cosines_between_methods(vectors)
    assert [(each.layer, each.method, each.other) for each in between[:3]] == [
        (0, "mean_diff", "probe"), (0, "mean_diff", "random"), (0, "probe", "random"),
    ]  # fmt: skip
    assert len(between) == 6
    first, second = vectors[0].vector.numpy(), vectors[1].vector.numpy()
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert between[0].cosine == pytest.approx(expected, abs=1e-6)
    previous: Any = {
        ("mean_diff", 0): vectors[0].vector * -3,
        ("probe", 1): torch.zeros(80),
        ("random", 1): torch.ones(79),
    }
    then = cosines_with_previous(vectors, previous)
    assert [(each.method, each.layer, each.other) for each in then] == [
        ("mean_diff", 0, "previous"), ("probe", 1, "previous"),
    ]  # fmt: skip
    assert then[0].cosine == pytest.approx(-1.0)
    assert then[1].cosine == 0.0


def test_rows_in_another_order_give_the_same_figures() -> None:
    data = crossed(2.0, n_questions=8)
    mixed = data.rows(np.random.default_rng(0).permutation(len(data.pairs)))
    one, other = (measure(each).of("mean_diff", 1) for each in (data, mixed))
    assert one is not None
    assert other is not None
    for name in ("accuracy", "auroc", "effect_size"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert value(theirs) == pytest.approx(value(ours)), name
        assert theirs.interval == pytest.approx(ours.interval), name


def test_the_seed_decides_what_is_held_out_together() -> None:
    data = crossed(2.0, n_questions=8, n_pairs=6)
    splits = [
        split_examples(data.is_positive, data.questions, data.pairs, seed) for seed in (0, 0, 1)
    ]
    held_out = [
        hold_out(data.activations, split, layers=[1], methods=["mean_diff"]) for split in splits
    ]
    one, same, other = (each.margins["mean_diff", 1] for each in held_out)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
