"""Verdicts of the checks on vectors, given their figures; intervals and cosines beside them."""

from typing import Any

import numpy as np
import pytest
import torch

from traitvec_core.estimate import Estimate
from traitvec_core.storage.formats import dump_json
from traitvec_core.validation.checks.chance import check_chance
from traitvec_core.validation.checks.confounds import check_confounds
from traitvec_core.validation.checks.stability import check_stability
from traitvec_core.validation.explanations import (
    Baseline,
    Explanations,
    LargestDimensions,
    ShareOfVector,
)
from traitvec_core.validation.held_out import hold_out, score_draws, split_groups
from traitvec_core.validation.resampling import Stability, bootstrap_auroc
from traitvec_core.validation.separation import (
    Separation,
    SeparationScore,
    VectorCosine,
    cosines_between_methods,
    cosines_with_previous,
    measure_separation,
    score_separation,
)
from traitvec_core.vectors import extract_vectors


def figure(value: float, low: float | None = None) -> Estimate:
    return Estimate(value=value, low=value - 0.02 if low is None else low, high=value + 0.02)


def explanations(probe: float = 0.97, **reached: float | tuple[float, float]) -> Explanations:
    """Each baseline by its accuracy, or by that and the low end of the probe's advantage."""
    baselines = []
    for name, given in reached.items():
        accuracy, low = given if isinstance(given, tuple) else (given, None)
        baselines.append(
            Baseline(
                name=name,  # type: ignore[arg-type]
                accuracy=figure(accuracy),
                auroc=figure(accuracy),
                probe_advantage=figure(probe - accuracy, low),
            )
        )
    return Explanations(
        method="mean_diff", layer=3, probe_accuracy=figure(probe), baselines=baselines,
        shares=[
            ShareOfVector(name="length", correlation=figure(0.1), share_of_separation=figure(0.2))
        ],
        largest=LargestDimensions(
            dimensions=[1], times_median=3.0, share_of_activations=0.1, share_of_vector=0.2,
            without=None,
        ),
    )  # fmt: skip


def by_instruction(accuracy: float) -> Separation:
    return Separation(scores=[], probe_accuracy=Estimate(value=accuracy), n_folds=5, n_held_out=100)


# -- confounds ------------------------------------------------------------------------------------


def test_a_probe_that_beats_all_of_them_passes() -> None:
    check = check_confounds(
        explanations(length=0.6, words=0.9, embeddings=0.93), by_instruction(0.95)
    )
    assert (check.verdict, check.advice) == ("pass", "")
    assert "embeddings" in check.summary
    assert check.figures["probe"] == 0.97
    assert check.figures["words_accuracy"] == 0.9
    assert check.figures["length_share_of_separation"] == 0.2
    assert check.figures["probe_on_new_instructions"] == 0.95


@pytest.mark.parametrize(
    ("reached", "warned"),
    [
        ({"length": 0.92, "words": 0.8}, ["length"]),
        ({"refusal": 0.91}, ["refusal"]),
        ({"length": (0.88, -0.01)}, ["length"]),
        ({"words": (0.95, 0.001)}, []),
        ({"words": (0.97, 0.0)}, ["words"]),
        ({"length": 0.5, "embeddings": (0.99, -0.04)}, ["embeddings"]),
        ({"length": 0.93, "words": (0.97, 0.0)}, ["length", "words"]),
    ],
)
def test_what_does_as_well_is_warned_of_by_name(reached: Any, warned: list[str]) -> None:
    check = check_confounds(explanations(**reached))
    assert check.verdict == ("warn" if warned else "pass")
    for name in reached:
        assert (f"{name.capitalize()}: " in check.advice) == (name in warned)


def test_a_baseline_that_cannot_be_held_against_the_probe_is_not_beaten() -> None:
    found = explanations(words=0.8)
    found.baselines[0].probe_advantage = Estimate()
    assert check_confounds(found).verdict == "warn"


@pytest.mark.parametrize(
    ("probe", "carried", "verdict"),
    [(0.97, 0.95, "pass"), (0.97, 0.9, "warn"), (0.97, 0.6, "warn"), (0.8, 0.6, "pass")],
)
def test_wordings_are_warned_of_where_new_questions_are_no_trouble(
    probe: float, carried: float, verdict: str
) -> None:
    check = check_confounds(explanations(probe, length=0.5), by_instruction(carried))
    assert check.verdict == verdict
    assert ("Instructions: " in check.advice) == (verdict == "warn")


def test_nothing_to_test_fails() -> None:
    for check in (check_confounds(None), check_chance(None), check_stability(None)):
        assert check.verdict == "fail"
        assert check.summary
        assert check.advice


# -- stability ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "previous", "verdict"),
    [
        (0.95, None, "pass"), (0.9, 0.9, "pass"), (0.95, 0.4, "warn"), (0.85, 0.99, "warn"),
        (0.79, 0.99, "fail"), (0.79, None, "fail"), (None, None, "fail"),
        (0.95, float("nan"), "warn"),
    ],
)  # fmt: skip
def test_stability(mean: float | None, previous: float | None, verdict: str) -> None:
    cosine = Estimate() if mean is None else Estimate(value=mean, low=mean - 0.1, high=mean + 0.01)
    stability = Stability(method="probe", layer=5, cosine=cosine, n_resamples=100)
    cosines = [
        VectorCosine(method="probe", layer=4, other="previous", cosine=0.1),
        VectorCosine(method="ica", layer=5, other="previous", cosine=0.1),
    ]
    if previous is not None:
        cosines.append(VectorCosine(method="probe", layer=5, other="previous", cosine=previous))
    check = check_stability(stability, cosines)
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict != "pass")
    assert check.figures["bootstrap_cosine"] == mean
    assert check.figures["previous_cosine"] is previous


# -- intervals and cosines ------------------------------------------------------------------------

IS_POSITIVE = np.arange(60) % 5 < 2
QUESTIONS = np.arange(60) // 5


def data(gap: float = 2.0) -> torch.Tensor:
    values = np.random.default_rng(0).standard_normal((60, 2, 80)) + 3
    values[:, :, 0] += np.where(IS_POSITIVE, gap, 0)[:, None]
    return torch.from_numpy(values)


def test_a_draw_counts_every_question_as_often_as_it_was_drawn() -> None:
    split = split_groups(IS_POSITIVE, QUESTIONS)
    margins = np.random.default_rng(1).standard_normal(60) + np.where(IS_POSITIVE, 0.5, -0.3)
    draws = score_draws(margins, split, n_resamples=5, seed=3)
    times = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=5)
    for index, count in enumerate([np.ones(12, int), *times]):
        rows = np.repeat(np.arange(60), count[QUESTIONS])
        own, truth = margins[rows], IS_POSITIVE[rows]
        right = (own > 0) == truth
        gap = own[truth].mean() - own[~truth].mean()
        scatter = truth.sum() * own[truth].var() + (~truth).sum() * own[~truth].var()
        expected = {
            "accuracy": right.mean(),
            "balanced_accuracy": (right[truth].mean() + right[~truth].mean()) / 2,
            "separation": gap,
            "effect_size": gap / np.sqrt(scatter / (len(rows) - 2)),
        }
        for name, value in expected.items():
            assert draws[name][index] == pytest.approx(value), name  # type: ignore[index]


def test_every_figure_lies_in_its_interval_and_survives_json() -> None:
    given = (data(), IS_POSITIVE, QUESTIONS)
    held_out = hold_out(*given, layers=[1], methods=["mean_diff"])
    separation = measure_separation(*given, layers=[1], methods=["mean_diff"])
    assert separation == score_separation(held_out)
    assert len(separation.scores) == 3 * 2
    for score in separation.scores:
        for estimate in (score.accuracy, score.auroc, score.effect_size, score.separation):
            _assert_inside(estimate)
    aurocs = {(found.method, found.layer): found.auroc for found in bootstrap_auroc(held_out)}
    assert aurocs == {(s.method, s.layer): s.auroc for s in separation.scores}
    _assert_inside(separation.probe_accuracy)
    assert Separation.model_validate_json(separation.model_dump_json()) == separation
    # In files, an undefined value is null.
    undefined = separation.scores[0].model_copy(
        update={"effect_size": Estimate(value=float("nan"), low=float("nan"))}
    )
    read = SeparationScore.model_validate_json(dump_json(undefined.model_dump()))
    assert read.effect_size == Estimate()


def _assert_inside(estimate: Estimate) -> None:
    assert estimate.value is not None
    assert estimate.interval is not None
    low, high = estimate.interval
    assert low <= estimate.value <= high
    assert low < high


def test_cosines_between_methods_and_with_the_last_time() -> None:
    vectors = extract_vectors(
        data(), IS_POSITIVE, QUESTIONS, layers=[0, 1], methods=["mean_diff", "probe", "random"]
    )
    between = cosines_between_methods(vectors)
    assert [(found.layer, found.method, found.other) for found in between[:3]] == [
        (0, "mean_diff", "probe"), (0, "mean_diff", "random"), (0, "probe", "random"),
    ]  # fmt: skip
    assert len(between) == 6
    first, second = vectors[0].vector.numpy(), vectors[1].vector.numpy()
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert between[0].cosine == pytest.approx(expected, abs=1e-6)
    previous = {
        ("mean_diff", 0): vectors[0].vector * -3,
        ("probe", 1): torch.zeros(80),
        ("random", 1): torch.ones(79),
    }
    then = cosines_with_previous(vectors, previous)  # type: ignore[arg-type]
    assert [(found.method, found.layer, found.other) for found in then] == [
        ("mean_diff", 0, "previous"), ("probe", 1, "previous"),
    ]  # fmt: skip
    assert then[0].cosine == pytest.approx(-1.0)
    assert then[1].cosine == 0.0
