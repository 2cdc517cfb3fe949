"""Simulated traits: activations, texts and scores of traits that exist, and of ones that do not."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import split_examples
from traitvec_core.validation.question_topics import group_questions

__all__ = ["NON_TRAITS", "PLANTED", "Design", "SimulatedTrait", "planted", "simulate"]

Array = NDArray[np.float64]

_TEXT = """
water light house river stone garden paper window table morning evening market letter music summer
winter forest mountain village harbour engine copper silver cotton pepper basket ladder bottle
mirror carpet candle pencil button pocket saddle anchor
"""
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class Design:
    """What is asked, and how the model's activations look.

    Attributes:
        n_pairs: Instruction pairs.
        n_questions: Questions.
        n_per_pole: Responses per pole, spread evenly over pairs and questions.
        n_layers: Layers beside the embeddings.
        hidden_dim: Dimensions; noise has variance 1 in each.
        question_sd: Size of what a question does to both poles alike.
    """

    n_pairs: int = 10
    n_questions: int = 20
    n_per_pole: int = 100
    n_layers: int = 2
    hidden_dim: int = 64
    question_sd: float = 1.0


@dataclass(eq=False)
class SimulatedTrait:
    """One simulated trait, all arrays by example.

    Attributes:
        activations: `[n, 1 + n_layers, hidden_dim]`.
        opposite: The same responses after the opposite instruction.
        responses: Texts.
    """

    is_positive: NDArray[np.bool_]
    questions: NDArray[np.int64]
    pairs: NDArray[np.int64]
    activations: Array
    opposite: Array
    responses: list[str]
    rng: np.random.Generator = field(repr=False)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Keep some examples only."""
        for name in ("is_positive", "questions", "pairs", "activations", "opposite"):
            setattr(self, name, getattr(self, name)[rows])
        self.responses = [
            text for text, is_kept in zip(self.responses, rows, strict=True) if is_kept
        ]

    def add(self, shift: Array, *, to_opposite: Array | None = None) -> None:
        """Add `[n, hidden_dim]` at every inner layer, also after the opposite instruction."""
        self.activations[:, 1:] += shift[:, None]
        self.opposite[:, 1:] += (shift if to_opposite is None else to_opposite)[:, None]

    @property
    def sign(self) -> Array:
        """+1 for positive, −1 for negative."""
        return np.where(self.is_positive, 1.0, -1.0)

    def examples(self, seed: int) -> LabelledExamples:
        """Return the trait as the stage `vectors` would read it."""
        return LabelledExamples(
            activations=torch.from_numpy(self.activations).float(),
            split=split_examples(self.is_positive, self.questions, self.pairs, seed),
            responses=self.responses,
            is_refusal=[False] * len(self.responses),
            opposite=torch.from_numpy(self.opposite).float(),
        )


def noise(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """Exchangeable noise: questions differ, poles do not."""
    cells = [
        (question, (question + shift) % design.n_pairs)
        for shift in range(design.n_pairs)
        for question in range(design.n_questions)
    ]
    chosen = [cells[k % len(cells)] for k in range(design.n_per_pole)] * 2
    questions, pairs = np.array(chosen).T
    n, shape = len(chosen), (1 + design.n_layers, design.hidden_dim)
    topics = design.question_sd * rng.standard_normal((design.n_questions, *shape))
    activations = topics[questions] + rng.standard_normal((n, *shape))
    # A sentence more or less; the lengths of the poles are alike.
    counts = rng.integers(12, 40, n)
    responses = [" ".join(rng.choice(_WORDS, count)) for count in counts]
    # Most of what an instruction in the context does is noise here; a little is its own.
    opposite = activations + 0.2 * rng.standard_normal((n, *shape))
    return SimulatedTrait(
        np.arange(n) < design.n_per_pole, questions, pairs, activations, opposite, responses, rng
    )


def question_by_pole(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """Each question is answered differently under the poles, in its own way."""
    trait = noise(design, rng)
    shifts = rng.standard_normal((design.n_questions, design.hidden_dim))
    trait.add(1.5 * trait.sign[:, None] * shifts[trait.questions])
    return trait


def instruction_texts(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """Each instruction text shifts its responses in its own way; nothing is common to a pole."""
    trait = noise(design, rng)
    shifts = rng.standard_normal((2, design.n_pairs, design.hidden_dim))
    trait.add(1.5 * shifts[trait.is_positive.astype(int), trait.pairs])
    return trait


def uneven_poles(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """Noise, of which the filter keeps few negatives."""
    trait = noise(design, rng)
    negatives = rng.choice(np.flatnonzero(~trait.is_positive), 8, replace=False)
    trait.keep(trait.is_positive | np.isin(np.arange(len(trait.is_positive)), negatives))
    return trait


def length_and_tic(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """Positives are longer and end with a tic; the activations know both, and nothing else."""
    trait = noise(design, rng)
    n, hidden_dim = len(trait.responses), design.hidden_dim
    # Poles overlap in both, as in life: some positives are short, some negatives have the tic.
    counts = np.exp(rng.normal(3.0 + 0.35 * trait.sign, 0.35)).round().astype(int)
    has_tic = rng.random(n) < np.where(trait.is_positive, 0.9, 0.1)
    trait.responses = [
        " ".join(rng.choice(_WORDS, max(count, 1))) + (" hooray !" if tic else "")
        for count, tic in zip(counts, has_tic, strict=True)
    ]
    of_length, of_tic = _unit(rng, hidden_dim), _unit(rng, hidden_dim)
    length = (np.log1p(counts) - 3.0) / 0.35
    trait.add(1.5 * length[:, None] * of_length + 3.5 * has_tic[:, None] * of_tic)
    return trait


def instruction_only(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """The model sees the instruction in its context; the responses are the same."""
    trait = noise(design, rng)
    shift = 2.0 * trait.sign[:, None] * _unit(rng, design.hidden_dim)
    trait.add(shift, to_opposite=-shift)
    return trait


def duplicate_questions(design: Design, rng: np.random.Generator) -> SimulatedTrait:
    """Half as many topics, each asked twice, each answered in its own way under the poles."""
    trait = noise(design, rng)
    n_topics = design.n_questions // 2
    topics = rng.permutation(_WORDS)[:n_topics]
    texts = [f"What should a beginner know about a {topic}?" for topic in topics]
    texts += [f"How would you describe a {topic} to a friend?" for topic in topics]
    shifts = rng.standard_normal((n_topics, design.hidden_dim))
    trait.add(1.5 * trait.sign[:, None] * shifts[trait.questions % n_topics])
    trait.questions = group_questions(texts)[trait.questions]
    return trait


def planted(strength: float) -> Callable[[Design, np.random.Generator], SimulatedTrait]:
    """A trait that is there: a shift, a little different for each pair and question.

    Args:
        strength: Distance of the poles along the trait's direction, in deviations of the noise.
    """

    def simulate_planted(design: Design, rng: np.random.Generator) -> SimulatedTrait:
        trait = noise(design, rng)
        direction = _unit(rng, design.hidden_dim)
        by_pair = 1 + 0.15 * rng.standard_normal(design.n_pairs)
        by_question = 1 + 0.15 * rng.standard_normal(design.n_questions)
        size = strength / 2 * by_pair[trait.pairs] * by_question[trait.questions]
        trait.add((trait.sign * size)[:, None] * direction)
        return trait

    return simulate_planted


NON_TRAITS: dict[str, Callable[[Design, np.random.Generator], SimulatedTrait]] = {
    "exchangeable noise": noise,
    "question × pole effects": question_by_pole,
    "instruction-text effects": instruction_texts,
    "uneven poles (100 against 8)": uneven_poles,
    "length and a tic": length_and_tic,
    "instruction only": instruction_only,
    "topics asked twice": duplicate_questions,
}

# By the held-out effect size that it gives: the strength that has to be planted for it. Questions
# differ and vectors are noisy, so more than the effect size has to be there.
PLANTED = {1.2: 2.15, 2.0: 3.12, 2.8: 4.3, 4.3: 7.3}


def simulate(
    kind: Callable[[Design, np.random.Generator], SimulatedTrait], design: Design, seed: int
) -> LabelledExamples:
    """Return one simulated trait of a kind."""
    return kind(design, np.random.default_rng([seed, design.n_pairs])).examples(seed)


def _unit(rng: np.random.Generator, n: int) -> Array:
    vector = rng.standard_normal(n)
    unit: Array = vector / np.linalg.norm(vector)
    return unit
