"""Chance: p-values by hand, and their corrections."""

from typing import Any

import numpy as np
import pytest
import torch

from traitvec_core.validation.chance import Chance, count_labelings, measure_chance
from traitvec_core.validation.checks.chance import check_chance
from traitvec_core.validation.held_out import hold_out, score_draws, split_groups
from traitvec_core.validation.resampling import permute_labels

N, D = 40, 60
IS_POSITIVE = np.arange(N) < N // 2
QUESTIONS = np.arange(N) % 10


def data(gap: float, seed: int = 0, n_layers: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((N, n_layers, D))
    values[:, -1, 0] += np.where(IS_POSITIVE, gap / 2, -gap / 2)
    return torch.from_numpy(values)


def measure(activations: torch.Tensor, layers: list[int], **given: Any) -> Chance:
    held_out = hold_out(
        activations, IS_POSITIVE, QUESTIONS, layers=layers, methods=["mean_diff", "gradient"]
    )
    return measure_chance(activations, held_out, **{"n_permutations": 99, "n_random": 99, **given})


def test_a_strong_trait_beats_every_permutation_and_direction() -> None:
    found = measure(data(12.0), [1, 2])
    assert found.permutation_p_value == found.random_p_value == found.smallest_p_value == 0.01
    assert (found.n_permutations, found.n_random, found.n_movable) == (99, 99, N)
    assert [(s.method, s.layer) for s in found.scores] == [
        ("mean_diff", 1), ("mean_diff", 2), ("probe", 1), ("probe", 2),
    ]  # fmt: skip
    by_layer = {s.layer: s for s in found.scores if s.method == "probe"}
    assert by_layer[2].corrected_p_value == 0.01
    assert by_layer[1].corrected_p_value > 0.05
    check = check_chance(found)
    assert (check.verdict, check.advice) == ("pass", "")
    assert check.figures["permutation_p_value"] == 0.01


def test_the_correction_is_against_each_permutations_best() -> None:
    activations = data(1.5)
    found = measure(activations, [1, 2])
    both = permute_labels(activations, IS_POSITIVE, QUESTIONS, layers=[1, 2], n_permutations=99)
    best = np.concatenate([one.null for one in both], axis=1).max(axis=1)
    observed = np.array([one.observed for one in both]).ravel()
    for score, auroc in zip(found.scores, observed, strict=True):
        assert score.auroc == auroc
        assert score.corrected_p_value == (1 + (best >= auroc).sum()) / 100
        assert score.p_value <= score.corrected_p_value
    assert found.permutation_p_value == (1 + (best >= observed.max()).sum()) / 100


def test_a_random_direction_is_scored_like_a_vector() -> None:
    """With one draw, its best effect size is that of one of the directions drawn."""
    activations = data(3.0)
    found = measure(activations, [2], n_random=1)
    split = split_groups(IS_POSITIVE, QUESTIONS)
    values = activations[:, 2].numpy()
    effects = []
    # Of mean_diff, gradient and probe.
    for direction in np.random.default_rng([0, 2]).standard_normal((D, 3)).T:
        margins = np.full(N, np.nan)
        for mask in split.folds:
            projected = values @ direction
            means = [projected[~mask & pole].mean() for pole in (IS_POSITIVE, ~IS_POSITIVE)]
            margins[mask] = np.sign(means[0] - means[1]) * (projected[mask] - np.mean(means))
        effects.append(score_draws(margins, split)["effect_size"][0])
    assert found.random_effect_size == pytest.approx(max(effects))
    assert found.random[0].effect_size_median == pytest.approx(np.median(effects))


def test_a_shift_in_every_direction_is_no_better_than_random_directions() -> None:
    """Poles of unlike size: most directions tell them apart about as well as any."""
    rng = np.random.default_rng(0)
    size = np.where(IS_POSITIVE, 3.0, 1.0) * np.exp(0.05 * rng.standard_normal(N))
    base = rng.standard_normal(D)
    values = size[:, None] * (base + 1e-3 * rng.standard_normal((N, D)))
    found = measure(torch.from_numpy(np.stack([values, values], axis=1)), [1])
    assert found.permutation_p_value == 0.01
    assert found.random_p_value is not None
    assert found.random_p_value > 0.05
    check = check_chance(found)
    assert check.verdict == "fail"
    assert "random directions separate them" in check.advice


def test_on_noise_small_p_values_are_as_rare_as_they_say() -> None:
    found = [measure(data(0.0, seed), [1, 2], n_permutations=39, n_random=39) for seed in range(40)]
    for which in ("permutation_p_value", "random_p_value"):
        p_values = np.array([getattr(chance, which) for chance in found])
        assert (p_values <= 0.1).mean() < 0.25, which
        assert 0.3 < p_values.mean() < 0.8, which


def test_labels_that_cannot_move_are_not_tested_and_fail() -> None:
    activations = data(12.0)
    groups = np.arange(N)
    held_out = hold_out(activations, IS_POSITIVE, groups, layers=[1], methods=["mean_diff"])
    found = measure_chance(activations, held_out)
    assert found.permutation_p_value is None
    for chance in (found, None):
        check = check_chance(chance)
        assert check.verdict == "fail"
        assert check.advice
    assert "question with both poles" in check_chance(found).summary


def test_too_few_labelings_are_told() -> None:
    """Two questions with one response of each pole: four labelings, so no p-value under 1/4."""
    rows = np.array([0, 20, 1, 21])
    split = split_groups(IS_POSITIVE[rows], QUESTIONS[rows])
    assert count_labelings(split) == 4
    activations = data(12.0)[rows]
    held_out = hold_out(
        activations, IS_POSITIVE[rows], QUESTIONS[rows], layers=[2], methods=["mean_diff"]
    )
    found = measure_chance(activations, held_out)
    assert found.smallest_p_value == 0.25
    check = check_chance(found)
    assert check.verdict == "fail"
    assert "no result could reach" in check.advice


def test_row_0_is_left_out_unless_it_is_all_there_is() -> None:
    activations = data(12.0)
    assert {score.layer for score in measure(activations, [0, 1]).scores} == {1}
    assert {score.layer for score in measure(activations, [0]).scores} == {0}


def test_what_is_measured_survives_json() -> None:
    found = measure(data(3.0), [1, 2])
    assert Chance.model_validate_json(found.model_dump_json()) == found
