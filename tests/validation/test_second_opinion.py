"""Two elicitations of one trait: what agrees, what does not, and how often noise seems to."""

import numpy as np
import pytest
import torch

from benchmarks.calibrate.traits import NON_TRAITS, Design, noise
from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.estimate import Estimate
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.second_opinion import SecondOpinion, compare_elicitations
from traitvec_core.validation.second_transfer import Elicited, SteeringEffect

DESIGN = Design(n_pairs=8, n_questions=10, n_per_pole=60, n_layers=1, hidden_dim=24)
# One for each trait, of length 1.
DIRECTIONS = np.eye(DESIGN.hidden_dim)


def planted(direction: int, seed: int, strength: float = 5.0) -> LabelledExamples:
    """A trait along one dimension."""
    trait = noise(DESIGN, np.random.default_rng([seed, 7]))
    trait.add(strength / 2 * trait.sign[:, None] * DIRECTIONS[direction])
    return trait.examples(seed)


def null(kind: str, seed: int) -> LabelledExamples:
    return NON_TRAITS[kind](DESIGN, np.random.default_rng([seed, 8])).examples(seed)


def elicited(
    examples: LabelledExamples,
    by: ElicitedBy = "instructions",
    own_auroc: float = 0.99,
    experiment: str = "",
) -> Elicited:
    values, is_positive = examples.activations[:, 1], torch.from_numpy(examples.split.is_positive)
    name = experiment or {"instructions": "mine", "scenarios": "told"}[by]
    return Elicited(
        experiment=name,
        elicited_by=by,
        examples=examples,
        questions=examples.split.questions,
        method="mean_diff",
        layer=1,
        vectors={("mean_diff", 1): values[is_positive].mean(0) - values[~is_positive].mean(0)},
        own_auroc=Estimate(value=own_auroc),
        steering=SteeringEffect(experiment=name, dose="not evaluated"),
    )


def compare(one: LabelledExamples, two: LabelledExamples, own_auroc: float = 0.99) -> SecondOpinion:
    return compare_elicitations(
        elicited(one, own_auroc=own_auroc), elicited(two, "scenarios", own_auroc)
    )


def test_the_same_trait_agrees() -> None:
    opinion = compare(planted(0, 1), planted(0, 2))
    assert opinion.opinion == "agree"
    there, back = opinion.transfers
    assert (there.vector_of, there.responses_of) == ("mine", "told")
    assert (back.vector_of, back.responses_of) == ("told", "mine")
    assert (there.auroc.value or 0) > 0.9
    assert (there.accuracy.value or 0) > 0.9
    assert there.auroc.interval is not None
    assert opinion.sentence.startswith("the instruction vector separates scenario responses at ")
    assert "the scenario vector instruction responses at" in opinion.sentence
    assert opinion.sentence.endswith(": the same trait")
    (cosine,) = opinion.cosines
    assert cosine.chance is not None
    assert cosine.cosine > cosine.chance


def test_two_traits_disagree() -> None:
    opinion = compare(planted(0, 1), planted(1, 2))
    assert opinion.opinion == "disagree"
    assert opinion.sentence.endswith(
        "what the instructions elicit is not what the scenarios elicit"
    )
    (cosine,) = opinion.cosines
    assert cosine.chance is not None
    assert cosine.cosine < cosine.chance


def test_opposite_poles_do_not_agree() -> None:
    turned = planted(0, 2, strength=-5.0)
    opinion = compare(planted(0, 1), turned)
    assert opinion.opinion == "disagree"
    assert all(each.auroc.format(".1f").startswith("0.0") for each in opinion.transfers)
    assert all((each.p_value or 0) > 0.9 for each in opinion.transfers)


def test_a_vector_that_does_not_separate_its_own_is_no_evidence_against() -> None:
    opinion = compare(planted(0, 1), null("exchangeable noise", 2), own_auroc=0.6)
    assert opinion.opinion == "unclear"
    assert "separates its own responses at only 0.60" in opinion.sentence


def test_a_threshold_that_does_not_carry_over_costs_accuracy_and_no_auroc() -> None:
    moved = planted(0, 2)
    moved.activations[:, 1] += 20 * torch.from_numpy(DIRECTIONS[0])
    there, _ = compare(planted(0, 1), moved).transfers
    assert there.accuracy.value == 0.5
    assert (there.auroc.value or 0) > 0.9


def test_two_experiments_by_instructions_are_named() -> None:
    sides = [
        elicited(planted(at, seed), experiment=name)
        for at, seed, name in ((0, 1, "terse"), (1, 2, "wordy"))
    ]
    sentence = compare_elicitations(*sides).sentence
    assert sentence.startswith("terse's vector separates wordy's responses at")
    assert sentence.endswith("what terse elicits is not what wordy elicits")


def test_what_a_question_does_under_the_poles_is_no_common_trait() -> None:
    """Both ask the same questions, each of which answers the poles in its own way."""

    def answers(seed: int, side: int) -> LabelledExamples:
        shifts = np.random.default_rng([seed, 9]).standard_normal((DESIGN.n_questions, 24))
        trait = noise(DESIGN, np.random.default_rng([seed, side]))
        trait.add(1.5 * trait.sign[:, None] * shifts[trait.questions])
        return trait.examples(seed)

    opinions = [compare(answers(seed, 1), answers(seed, 2)).opinion for seed in range(8)]
    assert opinions.count("agree") <= 1


@pytest.mark.parametrize("kind", NON_TRAITS)
def test_noise_agrees_with_nothing(kind: str) -> None:
    """At most 5% by design; in 100 seeds of each case it was 0 or 1."""
    opinions = [
        compare(null(kind, seed), other).opinion
        for seed in range(6)
        for other in (null(kind, seed + 1000), planted(0, seed))
    ]
    assert opinions.count("agree") <= 1
