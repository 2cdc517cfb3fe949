"""Verdicts of the checks on vectors, given their figures."""

from typing import Any

import pytest
import torch

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import NormThreshold, Thresholds
from traitvec_core.validation.chance import Chance, ChanceScore, RandomTest, SwapTest
from traitvec_core.validation.checks.accuracy import check_accuracy
from traitvec_core.validation.checks.chance import check_chance
from traitvec_core.validation.checks.confounds import check_confounds
from traitvec_core.validation.checks.norm import check_norm
from traitvec_core.validation.checks.stability import check_stability
from traitvec_core.validation.explanations import (
    Baseline,
    Explanations,
    LargestDimensions,
    ShareOfVector,
)
from traitvec_core.validation.separation import Separation, VectorCosine
from traitvec_core.validation.stability import ResampledCosine, Stability
from traitvec_core.vectors import TraitVector


def test_nothing_to_test_fails() -> None:
    nothing = Separation(scores=[], probe_accuracy=Estimate(), n_folds=0, n_held_out=0)
    for check in (
        check_accuracy(nothing, [], Thresholds()),
        check_chance(None),
        check_chance(Chance(untested="one question only")),
        check_confounds(None),
        check_norm(None, 1.0, Thresholds().norm),
        check_norm(vector(), None, Thresholds().norm),
        check_stability(None),
    ):
        assert check.verdict == "fail", check
        assert check.summary
        assert check.advice


# -- confounds ------------------------------------------------------------------------------------

Interval = tuple[float, float, float]


def explanations(accuracy: float = 0.6, **shares: Interval | None) -> Explanations:
    """Each share with its interval, None where it cannot be known; all classifiers as accurate."""
    figure = Estimate(value=accuracy, low=accuracy - 0.1, high=accuracy + 0.1)
    return Explanations(
        method="mean_diff", layer=3, probe_accuracy=Estimate(value=0.97),
        baselines=[
            Baseline(name=name, accuracy=figure, auroc=figure)  # type: ignore[arg-type]
            for name in shares
            if name != "instruction"
        ],
        shares=[
            ShareOfVector(
                name=name,  # type: ignore[arg-type]
                correlation=Estimate(),
                share_of_separation=Estimate()
                if share is None
                else Estimate(value=share[0], low=share[1], high=share[2]),
            )
            for name, share in shares.items()
        ],
        largest=LargestDimensions(
            dimensions=[1], times_median=3.0, share_of_activations=0.1, share_of_vector=0.2,
            without=None,
        ),
    )  # fmt: skip


SMALL, NOTABLE, LARGE, UNSURE = (0.1, 0.0, 0.2), (0.3, 0.1, 0.6), (0.7, 0.5, 0.9), (0.7, 0.2, 1.2)


@pytest.mark.parametrize(
    ("shares", "verdict", "named"),
    [
        ({"length": SMALL, "words": SMALL, "instruction": SMALL}, "pass", []),
        ({"length": NOTABLE, "words": SMALL}, "warn", ["Length"]),
        ({"instruction": LARGE, "length": SMALL}, "fail", ["The instruction in the context"]),
        # A share that its interval does not keep above the warning is no more than a warning.
        ({"embeddings": UNSURE}, "warn", ["The embeddings (layer 0)"]),
        ({"length": LARGE, "words": NOTABLE}, "fail", ["Length", "The words"]),
        ({"length": (-0.4, -0.6, -0.2)}, "pass", []),
        ({"length": (0.25, 0.1, 0.4)}, "pass", []),
        ({"refusal": None}, "pass", []),
    ],
)
def test_shares_are_bounded(shares: dict[str, Any], verdict: str, named: list[str]) -> None:
    check = check_confounds(explanations(**shares))
    assert check.verdict == verdict
    for label in ("Length", "The words", "The embeddings (layer 0)", "Refusing",
                  "The instruction in the context"):  # fmt: skip
        assert (f"{label}: " in check.advice) == (label in named)
    for name, share in shares.items():
        assert check.figures[f"{name}_share"] == (share and share[0])
    assert check.figures["probe"] == 0.97
    assert check.figures["largest_dimensions_share"] == 0.2


def test_what_separates_as_well_and_whose_share_is_unknown_warns() -> None:
    check = check_confounds(explanations(0.95, refusal=None))
    assert check.verdict == "warn"
    assert "unknown (it hardly varies within the poles)" in check.summary
    # A wide interval says as little as none; a narrow one answers the question.
    assert check_confounds(explanations(0.95, length=(0.2, -0.4, 0.8))).verdict == "warn"
    assert check_confounds(explanations(0.95, length=SMALL)).verdict == "pass"


@pytest.mark.parametrize(
    ("about", "verdict"),
    [([], "fail"), (["length"], "warn"), (["length", "words"], "pass"), (["refusal"], "fail")],
)
def test_what_the_trait_is_about_is_excused(about: list[str], verdict: str) -> None:
    found = explanations(length=LARGE, words=NOTABLE, embeddings=NOTABLE)
    check = check_confounds(found, about=about)
    assert check.verdict == verdict
    assert ("the trait is about" in check.summary) == bool(about)


def test_the_thresholds_on_shares_are_the_experiments() -> None:
    thresholds = Thresholds(share=0.9, share_warning=0.8)
    assert check_confounds(explanations(length=LARGE), thresholds).verdict == "pass"


# -- stability ------------------------------------------------------------------------------------


def stability(questions: float, pairs: float, noise: float | None) -> Stability:
    return Stability(
        method="probe", layer=5,
        resampled=[
            ResampledCosine(
                of=of, cosine=Estimate(value=mean, low=mean - 0.1, high=mean + 0.01), noise=noise,
                n_resamples=100,
            )
            for of, mean in (("questions", questions), ("instruction pairs", pairs))
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("questions", "pairs", "noise", "previous", "verdict"),
    [
        (0.95, 0.95, 0.7, None, "pass"), (0.9, 0.9, 0.7, 0.9, "pass"),
        (0.95, 0.95, 0.7, 0.4, "warn"), (0.85, 0.95, 0.7, 0.99, "warn"),
        (0.95, 0.85, 0.7, None, "warn"), (0.95, 0.65, 0.7, 0.99, "fail"),
        (0.7, 0.95, 0.7, None, "fail"), (0.85, 0.85, None, None, "warn"),
        # High enough to be used, whatever noise reaches with so many examples.
        (0.95, 0.95, 0.97, None, "pass"), (0.95, 0.95, 0.7, float("nan"), "warn"),
    ],
)  # fmt: skip
def test_stability(
    questions: float, pairs: float, noise: float | None, previous: float | None, verdict: str
) -> None:
    cosines = [
        VectorCosine(method="probe", layer=4, other="previous", cosine=0.1),
        VectorCosine(method="ica", layer=5, other="previous", cosine=0.1),
    ]
    if previous is not None:
        cosines.append(VectorCosine(method="probe", layer=5, other="previous", cosine=previous))
    check = check_stability(stability(questions, pairs, noise), cosines)
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict != "pass")
    assert check.figures["questions_cosine"] == questions
    assert check.figures["instruction_pairs_cosine"] == pairs
    assert check.figures["previous_cosine"] is previous


def test_the_weaker_resampling_is_named() -> None:
    assert "A few instruction pairs decide" in check_stability(stability(0.95, 0.8, 0.7)).advice
    assert "A few questions decide" in check_stability(stability(0.8, 0.95, 0.7)).advice


# -- norm and accuracy ----------------------------------------------------------------------------


def vector(norm: float = 6.0, relative: float = 0.5) -> TraitVector:
    return TraitVector(
        method="probe", layer=5, vector=torch.ones(4), vector_norm=norm, raw_norm=1.0,
        relative_norm=relative, separation=norm, train_accuracy=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "norm", "chance_norm", "verdict"),
    [
        ({}, 6.0, 3.0, "pass"), ({}, 5.9, 3.0, "fail"), ({}, 900.0, 3.0, "pass"),
        ({"minimum": 3}, 6.0, 3.0, "fail"), ({"kind": "absolute"}, 31.0, 31.0, "pass"),
        ({"kind": "absolute"}, 41.0, 1.0, "fail"), ({"kind": "absolute"}, 14.0, None, "fail"),
        ({"kind": "relative", "minimum": 0.1, "maximum": 1.0}, 31.0, None, "pass"),
        ({"kind": "relative", "minimum": 0.6, "maximum": 1.0}, 31.0, None, "fail"),
    ],
)  # fmt: skip
def test_norm(
    threshold: dict[str, Any], norm: float, chance_norm: float | None, verdict: str
) -> None:
    check = check_norm(vector(norm), chance_norm, NormThreshold.model_validate(threshold))
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict == "fail")
    assert check.figures["chance_norm"] == chance_norm
    assert "probe at layer 5" in check.summary


@pytest.mark.parametrize(
    ("accuracy", "high", "verdict"),
    [
        (0.95, 1.0, "pass"), (0.9, 0.95, "warn"), (0.85, 0.96, "warn"),
        # Its interval reaches higher, but only its end.
        (0.85, 0.93, "fail"), (0.8, 0.89, "fail"), (0.8, None, "fail"),
    ],
)  # fmt: skip
def test_accuracy(accuracy: float, high: float | None, verdict: str) -> None:
    low = None if high is None else 2 * accuracy - high
    estimate = Estimate(value=accuracy, low=low, high=high)
    separation = Separation(
        scores=[], probe_accuracy=estimate, n_folds=15, n_held_out=100, n_questions=20, n_pairs=10
    )
    check = check_accuracy(separation, [0.7, 1.0], Thresholds())
    assert check.verdict == verdict
    assert "questions and instruction pairs that it has not seen" in check.summary
    # Shown, and never decisive.
    assert check.figures["best_train_accuracy"] == 1.0
    assert check_accuracy(separation, [], Thresholds()).verdict == verdict


# -- chance ---------------------------------------------------------------------------------------


def chance(
    pairs: tuple[float, int] = (1 / 512, 512),
    questions: tuple[float, int] = (1 / 128, 128),
    random: float = 0.005,
    own: float = 1 / 128,
) -> Chance:
    """P-values, and how many labelings those of swapped groups rest on."""

    def swapped(of: str, p_value: float, n: int) -> SwapTest:
        return SwapTest(
            of=of, n_groups=n.bit_length(), n_labelings=n, p_value=p_value, is_exhaustive=True
        )

    return Chance(
        by_pair=swapped("instruction pairs", *pairs), by_question=swapped("questions", *questions),
        random=RandomTest(
            p_value=random, best_effect_size=3.0, effect_size_high=1.0, n_draws=200, layers=[]
        ),
        scores=[ChanceScore(method="probe", layer=5, auroc=0.97, corrected_p_value=own)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "pass"),
        ({"pairs": (0.06, 512)}, "fail"), ({"questions": (0.06, 128)}, "fail"),
        ({"random": 0.06}, "fail"), ({"own": 0.06}, "fail"),
        ({"random": 0.05}, "pass"),
        # Five pairs: the best possible result warns, the next one fails.
        ({"pairs": (1 / 16, 16), "own": 1 / 16}, "warn"), ({"pairs": (2 / 16, 16)}, "fail"),
        ({"pairs": (1 / 16, 16), "own": 2 / 16}, "fail"),
        # It excuses nothing but itself.
        ({"pairs": (1 / 2, 2), "random": 0.2}, "fail"),
        ({"pairs": (1 / 2, 2), "questions": (0.3, 128)}, "fail"),
    ],
)  # fmt: skip
def test_chance(given: dict[str, Any], verdict: str) -> None:
    check = check_chance(chance(**given), ("probe", 5))
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict != "pass")
    assert check.figures["auroc"] == 0.97
    assert check.figures["n_instruction_pairs"] == given.get("pairs", (0, 512))[1].bit_length()


def test_the_smallest_possible_p_value_is_said_where_it_is_too_large() -> None:
    check = check_chance(chance(pairs=(1 / 16, 16)), ("probe", 5))
    assert "With 5 instruction pairs on both poles, no result could show less" in check.advice
    assert "1/16" in check.advice
    assert check_chance(chance(pairs=(1 / 16, 16)), significance=0.1).verdict == "pass"
