"""The forecast: hopeless where the separation is chance's; the cosine of differences by hand."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tests.validation.crossed_design import crossed
from traitvec_core.estimate import Estimate
from traitvec_core.validation.chance import Chance, SwapTest, measure_chance
from traitvec_core.validation.forecast import forecast_steering, paired_cosine
from traitvec_core.validation.separation import Separation, SeparationScore, score_separation


def separation(effect_size: float | None) -> Separation:
    size = Estimate(value=effect_size, low=effect_size, high=effect_size)
    winner = SeparationScore(
        method="mean_diff", layer=1, accuracy=Estimate(), auroc=Estimate(), effect_size=size
    )
    return Separation(
        scores=[], probe_accuracy=Estimate(), n_folds=15, n_held_out=100, winner=winner
    )


def chance(p_value: float, n_labelings: int = 128) -> Chance:
    return Chance(
        by_question=SwapTest(
            of="questions", n_groups=8, n_labelings=n_labelings, p_value=p_value,
            is_exhaustive=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect_size", "p_value", "n_labelings", "reason"),
    [
        (2.0, 0.01, 128, ""),
        (0.6, 0.01, 128, ""),
        (0.4, 0.01, 128, "too small to steer with"),
        (0.9, 0.3, 128, "no better than chance"),
        # Chance is not excluded, but a wasted search costs less than a trait that was never tried.
        (1.2, 0.3, 128, ""),
        # The smallest p-value that three pairs can show.
        (0.9, 0.25, 4, ""),
        (0.9, 0.5, 4, "no better than chance"),
        (-0.5, 1.0, 128, "no better than chance"),
    ],
)
def test_rules(effect_size: float, p_value: float, n_labelings: int, reason: str) -> None:
    forecast = forecast_steering(separation(effect_size), chance(p_value, n_labelings), 0.2)
    assert forecast.is_hopeless == bool(reason)
    assert (reason or "do not rule it out") in forecast.reason
    assert "cosine of paired differences 0.20" in forecast.reason
    assert forecast.effect_size.value == effect_size
    assert forecast.cosine == 0.2


def test_nothing_to_go_by_is_hopeless_and_an_unknown_cosine_is_not() -> None:
    for unknown in (
        forecast_steering(separation(None), chance(0.01), None),
        forecast_steering(separation(2.0), Chance(untested="why"), None),
        forecast_steering(
            Separation(scores=[], probe_accuracy=Estimate(), n_folds=0, n_held_out=0),
            chance(0.01), None,
        ),
    ):  # fmt: skip
        assert unknown.is_hopeless
        assert "nothing could be held out" in unknown.reason
    known = forecast_steering(separation(2.0), chance(0.01), None)
    assert not known.is_hopeless
    assert "cosine of paired differences unknown" in known.reason


@pytest.mark.parametrize(("gap", "n_hopeless"), [(0.0, (7, 8)), (5.0, (0, 0))])
def test_noise_is_called_hopeless_and_a_trait_is_not(
    gap: float, n_hopeless: tuple[int, int]
) -> None:
    found = []
    for seed in range(8):
        data = crossed(gap, n_questions=8, n_pairs=6, seed=seed)
        held_out = data.held_out("mean_diff")
        chance = measure_chance(data.activations, held_out, n_random=9)
        found.append(forecast_steering(score_separation(held_out), chance, None).is_hopeless)
    assert n_hopeless[0] <= sum(found) <= n_hopeless[1]


# -- the cosine of paired differences -------------------------------------------------------------


def test_it_is_the_mean_cosine_of_differences_that_share_neither_question_nor_pair() -> None:
    data = crossed(3.0, n_questions=3, n_pairs=2, d=6)
    values = data.activations[:, 1].numpy()
    differences = {}
    for question in range(3):
        for pair in range(2):
            inside = (data.questions == question) & (data.pairs == pair)
            gap = values[inside & data.is_positive][0] - values[inside & ~data.is_positive][0]
            differences[question, pair] = gap / np.linalg.norm(gap)
    cosines = [
        one @ other
        for (question, pair), one in differences.items()
        for (second, wording), other in differences.items()
        if question != second and pair != wording
    ]
    known = data.activations, data.is_positive, data.questions
    assert paired_cosine(*known, data.pairs, 1) == pytest.approx(np.mean(cosines))
    # Without pairs, one difference per question.
    whole = []
    for question in range(3):
        inside = data.questions == question
        positive, negative = (
            values[inside & pole] for pole in (data.is_positive, ~data.is_positive)
        )
        gap = positive.mean(axis=0) - negative.mean(axis=0)
        whole.append(gap / np.linalg.norm(gap))
    between = [one @ other for one, other in combinations(whole, 2)]
    assert paired_cosine(*known, None, 1) == pytest.approx(np.mean(between))


@pytest.mark.parametrize("effects", [{}, {"text_sd": 3.0}, {"answer_sd": 3.0}])
def test_it_is_about_zero_where_nothing_is_shared(effects: dict[str, float]) -> None:
    cosines = []
    for seed in range(10):
        data = crossed(n_questions=6, n_pairs=5, d=60, seed=seed, **effects)
        found = paired_cosine(data.activations, *data[1:], 1)
        assert found is not None
        cosines.append(found)
    assert abs(np.mean(cosines)) < 0.03


def test_it_is_one_where_all_differences_are_the_same() -> None:
    data = crossed(n_questions=4, n_pairs=3)
    same = torch.from_numpy(np.where(data.is_positive, 1.0, -1.0))[:, None, None].expand(-1, 2, 5)
    assert paired_cosine(same, *data[1:], 1) == pytest.approx(1.0)


def test_it_is_unknown_without_two_such_differences() -> None:
    data = crossed(3.0, n_questions=4, n_pairs=1)
    known = data.activations, data.is_positive, data.questions
    assert paired_cosine(*known, data.pairs, 1) is None
    assert paired_cosine(*known, None, 1) is not None
    alone = paired_cosine(data.activations, data.is_positive, np.arange(8), None, 1)
    assert alone is None
