"""Chance: p-values by hand, their corrections, and quiet where there is no trait."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.validation.crossed_design import Crossed, crossed
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.chance import Chance, measure_chance
from traitvec_core.validation.checks.chance import check_chance
from traitvec_core.validation.draws import score_draws
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.validation.permutations import permuted_scores, rank_score


def measure(
    data: Crossed,
    layers: tuple[int, ...] = (1,),
    methods: tuple[VectorMethod, ...] = ("mean_diff",),
    **given: Any,
) -> Chance:
    held_out = data.held_out(*methods, layers=layers)
    return measure_chance(data.activations, held_out, **{"n_random": 99, **given})


def p_values(chance: Chance) -> tuple[float, float, float]:
    """Of swapped pairs, swapped questions and random directions."""
    assert chance.by_pair is not None
    assert chance.by_question is not None
    assert chance.random is not None
    return chance.by_pair.p_value, chance.by_question.p_value, chance.random.p_value


def test_a_strong_trait_beats_every_labeling_and_direction() -> None:
    chance = measure(crossed(12.0, n_pairs=7, n_layers=3), (1, 2), ("mean_diff", "gradient"))
    assert p_values(chance) == (1 / 64, 1 / 32, 1 / 100)
    assert [(t.of, t.n_groups, t.n_labelings, t.is_exhaustive) for t in chance.tests] == [
        ("instruction pairs", 7, 64, True), ("questions", 6, 32, True),
    ]  # fmt: skip
    assert chance.permutation_p_value == 1 / 32
    assert [(s.method, s.layer) for s in chance.scores] == [
        (method, layer) for layer in (1, 2) for method in ("mean_diff", "gradient", "probe")
    ]
    by_layer = {s.layer: s for s in chance.scores if s.method == "probe"}
    assert by_layer[2].corrected_p_value == 1 / 32
    assert by_layer[1].corrected_p_value > 0.05
    check = check_chance(chance, ("probe", 2))
    assert (check.verdict, check.advice) == ("pass", "")
    assert check_chance(chance, ("probe", 1)).verdict == "fail"


def test_many_pairs_are_drawn_from() -> None:
    chance = measure(crossed(12.0, n_pairs=10, n_questions=8), n_labelings=40)
    assert chance.by_pair is not None
    assert (chance.by_pair.n_labelings, chance.by_pair.is_exhaustive) == (40, False)
    assert chance.by_pair.p_value == chance.by_pair.smallest_p_value == 1 / 40


def test_the_correction_is_against_each_labelings_best() -> None:
    data = crossed(1.0, n_layers=3)
    layers = (1, 2)
    held_out = data.held_out("mean_diff", layers=layers)
    chance = measure_chance(data.activations, held_out, n_random=9)
    swapped = [swap_poles(data.is_positive, groups, 127) for groups in (data.pairs, data.questions)]
    tables = permuted_scores(data.activations, data.split, swapped, layers=layers)
    bests = [table.max(axis=1) for table in tables]
    for test, best in zip(chance.tests, bests, strict=True):
        assert test.p_value == pytest.approx((best >= best[0] - 1e-9).mean())
    for score in chance.scores:
        rank = rank_score(held_out.margins[score.method, score.layer], held_out)
        expected = max((1 + (best[1:] >= rank - 1e-9).sum()) / len(best) for best in bests)
        assert score.corrected_p_value == pytest.approx(expected)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    gap=st.sampled_from([0.0, 1.0, 4.0]),
    sizes=st.tuples(st.integers(2, 5), st.integers(2, 5)),
)
def test_p_values_are_multiples_of_the_smallest(
    seed: int, gap: float, sizes: tuple[int, int]
) -> None:
    data = crossed(gap, n_questions=sizes[0], n_pairs=sizes[1], d=6, seed=seed)
    chance = measure(data, n_random=19)
    for test, n_groups in zip(chance.tests, reversed(sizes), strict=True):
        assert test.n_labelings == 2 ** (n_groups - 1)
        assert test.smallest_p_value == 1 / test.n_labelings
        times = test.p_value / test.smallest_p_value
        assert times == pytest.approx(round(times))
        assert test.smallest_p_value <= test.p_value <= 1
    assert chance.permutation_p_value == max(test.p_value for test in chance.tests)
    assert p_values(chance)[2] * 20 == pytest.approx(round(p_values(chance)[2] * 20))


def test_a_random_direction_is_scored_like_a_vector() -> None:
    """With one draw, its best effect size is that of one of the directions drawn."""
    data = crossed(3.0)
    chance = measure(data, n_random=1)
    values, split = data.activations[:, 1].numpy(), data.split
    effects = []
    # Of mean_diff and probe.
    for direction in np.random.default_rng([0, 1]).standard_normal((20, 2)).T:
        margins = np.full(len(values), np.nan)
        for fold in split.folds:
            projected = values @ direction
            means = [
                projected[fold.training & pole].mean()
                for pole in (data.is_positive, ~data.is_positive)
            ]
            margins[fold.test] = np.sign(means[0] - means[1]) * (
                projected[fold.test] - np.mean(means)
            )
        effects.append(score_draws(margins, split, n_resamples=0)["effect_size"][0])
    assert chance.random is not None
    assert chance.random.effect_size_high == pytest.approx(max(effects))
    assert chance.random.layers[0].effect_size_median == pytest.approx(np.median(effects))
    assert chance.random.p_value in {0.5, 1.0}


def test_a_shift_in_every_direction_is_no_better_than_random_directions() -> None:
    """Poles of unlike size: most directions separate them about as well as any."""
    data = crossed(n_pairs=6)
    rng = np.random.default_rng(0)
    n = len(data.pairs)
    size = np.where(data.is_positive, 3.0, 1.0) * np.exp(0.05 * rng.standard_normal(n))
    values = size[:, None] * (rng.standard_normal(20) + 1e-3 * rng.standard_normal((n, 20)))
    chance = measure(data._replace(activations=torch.from_numpy(np.stack([values] * 2, axis=1))))
    assert chance.permutation_p_value == 1 / 32
    assert p_values(chance)[2] > 0.05
    check = check_chance(chance)
    assert check.verdict == "fail"
    assert "random directions separate them" in check.advice


@pytest.mark.parametrize(("effects", "index"), [({"text_sd": 2.0}, 0), ({"answer_sd": 2.0}, 1)])
def test_what_single_texts_or_questions_do_does_not_beat_swapping_these(
    effects: dict[str, float], index: int
) -> None:
    """The poles differ clearly on every question, or in every pair, and share nothing."""
    found = [
        measure(crossed(n_questions=7, n_pairs=7, d=30, seed=seed, **effects), n_random=19)
        for seed in range(16)
    ]
    swapped = np.array([p_values(chance)[index] for chance in found])
    print(swapped)
    assert (swapped <= 0.1).mean() <= 0.25
    assert 0.3 < swapped.mean() < 0.8
    assert sum(check_chance(chance).verdict == "pass" for chance in found) <= 2


def test_on_noise_small_p_values_are_as_rare_as_they_say() -> None:
    found = np.array([
        p_values(measure(crossed(seed=seed, n_pairs=6, d=8), n_random=39)) for seed in range(30)
    ])  # fmt: skip
    print(found.mean(axis=0), (found <= 0.1).mean(axis=0))
    assert ((found <= 0.1).mean(axis=0) < 0.27).all()
    assert ((found.mean(axis=0) > 0.3) & (found.mean(axis=0) < 0.75)).all()


def test_labels_that_cannot_be_swapped_are_not_tested_and_fail() -> None:
    data = crossed(12.0)
    # Every question and every pair has one pole only.
    other = data._replace(
        questions=2 * data.questions + data.is_positive, pairs=2 * data.pairs + data.is_positive
    )
    chances = [measure(other), measure(crossed(n_questions=1)), None]
    for chance in chances:
        assert chance is None or (chance.permutation_p_value is None and chance.random is None)
        check = check_chance(chance)
        assert check.verdict == "fail"
        assert check.advice
    assert "no question and no instruction pair has both poles" in check_chance(chances[0]).summary


def test_unknown_pairs_leave_questions_to_be_swapped() -> None:
    data = crossed(12.0, n_questions=8)._replace(pairs=None)
    chance = measure(data)
    assert chance.by_pair is None
    assert [test.of for test in chance.tests] == ["questions"]
    assert check_chance(chance).verdict == "pass"


def test_one_pair_shows_nothing_and_fails() -> None:
    """Of one wording, nothing separates what it does from the trait."""
    chance = measure(crossed(12.0, n_questions=10, n_pairs=1))
    assert chance.by_pair is not None
    assert (chance.by_pair.p_value, chance.by_pair.n_labelings) == (1.0, 1)
    check = check_chance(chance)
    assert check.verdict == "fail"
    assert "Two instruction pairs or more" in check.advice


def test_row_0_is_left_out_unless_it_is_all_there_is() -> None:
    data = crossed(12.0)
    assert {score.layer for score in measure(data, (0, 1)).scores} == {1}
    assert {score.layer for score in measure(data, (0,)).scores} == {0}


def test_every_layer_is_reported_twice_and_what_is_measured_survives_json() -> None:
    finished: list[int] = []
    chance = measure(crossed(3.0, n_layers=3), (1, 2), on_layer=finished.append)
    assert finished == [1, 2, 1, 2]
    assert Chance.model_validate_json(chance.model_dump_json()) == chance
