"""Do two elicitations of one trait agree? Each one's vector on the other's responses.

Both ask the same questions, so a vector is put to responses to questions that it has not seen: what
it remembers of a question must not pass for the trait. The test is an intersection of two: in each
direction, the poles of the responses are swapped by entire pairs and by entire questions, while the
vectors stay. Where either elicitation is noise, its own responses' labels are exchangeable, so that
`agree` needs luck of at most 5%. Two real but unrelated directions overlap by chance too, so the
cosine must be more than meaningless labels give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.stats import rankdata

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import Fold, Split, hold_out
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.validation.second_cosines import LayerCosine, cosines_by_layer
from traitvec_core.validation.separation import estimates_of
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, fold_numbers

__all__ = [
    "SAME_TRAIT",
    "Elicited",
    "Opinion",
    "SecondOpinion",
    "SteeringEffect",
    "Transfer",
    "compare_elicitations",
]

SAME_TRAIT = 0.8
"""An AUROC on the other elicitation's responses from which two vectors are of the same trait."""

Opinion = Literal["agree", "disagree", "unclear"]

_N_LABELINGS = 999
_N_FOLDS = 5


class Transfer(BaseModel):
    """One elicitation's vector on the other's responses, to questions that it has not seen.

    The vector is that of the recommended method and layer, extracted without these questions.

    Attributes:
        vector_of: The experiment of the vector.
        responses_of: The experiment of the responses, whose pairs and questions are the clusters
            of the intervals.
        method: The vector's method.
        layer: Its layer.
        n: Responses.
        accuracy: Balanced accuracy at the vector's own threshold; low where the other context
            shifts all projections.
        auroc: The same without a threshold.
        own_auroc: The vector's held-out AUROC on its own elicitation's responses.
        p_value: Chance of such an AUROC if the responses' poles meant nothing: the larger of those
            with swapped pairs and swapped questions; None where nothing can be swapped.
    """

    vector_of: str
    responses_of: str
    method: VectorMethod
    layer: int
    n: int
    accuracy: Estimate
    auroc: Estimate
    own_auroc: Estimate
    p_value: float | None


class SteeringEffect(BaseModel):
    """What one elicitation's recommended dose did in its own steering evaluation.

    Attributes:
        experiment: The experiment.
        effect: How far the dose moves the trait score, in points of 0–100.
        steers: Whether that is more than random directions do; None where it was not evaluated.
        dose: Which vector and coefficient, or why there is no figure.
    """

    experiment: str
    effect: Estimate = Estimate()
    steers: bool | None = None
    dose: str


class SecondOpinion(BaseModel):
    """Whether a second elicitation of the same trait agrees.

    Attributes:
        experiment: The second experiment.
        elicited_by: How this one and the second one elicit.
        opinion: `agree` if both vectors reach `SAME_TRAIT` on the other's responses, beyond chance,
            and so does the cosine of the mean differences at their layers;
            `disagree` if one of two vectors that separate their own responses does not, with its
            interval; else `unclear`.
        sentence: The same in a sentence.
        transfers: This one's vector on the second's responses, and the other way round.
        cosines: By method and layer.
        steering: This experiment's effect, and the second's.
    """

    experiment: str
    elicited_by: tuple[ElicitedBy, ElicitedBy]
    opinion: Opinion
    sentence: str
    transfers: tuple[Transfer, Transfer]
    cosines: list[LayerCosine]
    steering: list[SteeringEffect]

    @property
    def line(self) -> str:
        """The figures in one line, as the checks of this experiment say it."""
        there, back = (each.auroc.format(".2f") for each in self.transfers)
        says = {
            "agree": "agrees",
            "disagree": "disagrees",
            "unclear": "neither agrees nor disagrees",
        }
        return (
            f"{self.experiment} {says[self.opinion]}: this vector separates its responses at"
            f" {there}, its vector these at {back} (AUROC)"
        )

    def cosine_of(self, method: str, layer: int) -> LayerCosine | None:
        """Return one cosine, or None."""
        return next((c for c in self.cosines if (c.method, c.layer) == (method, layer)), None)


@dataclass(frozen=True, eq=False)
class Elicited:
    """One elicitation of the trait.

    Attributes:
        experiment: The experiment's name.
        elicited_by: How it elicits.
        examples: Its responses' activations.
        questions: `[n_examples]`: numbers of the questions, or of groups of similar ones, that mean
            the same in both elicitations.
        method: The recommended vector's method.
        layer: Its layer.
        vectors: `[hidden_dim]` by method and layer, among them the recommended one.
        own_auroc: The recommended vector's held-out AUROC.
        steering: What its dose did.
    """

    experiment: str
    elicited_by: ElicitedBy
    examples: LabelledExamples
    questions: NDArray[np.int64]
    method: VectorMethod
    layer: int
    vectors: dict[tuple[VectorMethod, int], torch.Tensor]
    own_auroc: Estimate
    steering: SteeringEffect


def compare_elicitations(
    own: Elicited,
    second: Elicited,
    *,
    significance: float = 0.05,
    options: MethodOptions = MethodOptions(),
) -> SecondOpinion:
    """Compare two elicitations of one trait in one model.

    Args:
        own: This experiment's.
        second: The second experiment's; activations of the same layers and width.
        significance: What p-values must not exceed for `agree`.
        options: As for the extraction; its seed is also for draws and labelings.
    """
    transfers = _transfer(own, second, options), _transfer(second, own, options)
    cosines = cosines_by_layer(
        own.examples, second.examples, own.vectors, second.vectors,
        layers=(own.layer, second.layer), seed=options.seed,
    )  # fmt: skip
    doubts = [
        cosine
        for cosine in cosines
        if cosine.method == "mean_diff"
        and cosine.layer in {own.layer, second.layer}
        and cosine.is_by_chance
    ]
    opinion = _opinion(transfers, doubts, significance)
    return SecondOpinion(
        experiment=second.experiment,
        elicited_by=(own.elicited_by, second.elicited_by),
        opinion=opinion,
        sentence=_sentence(opinion, transfers, (own, second), doubts, significance),
        transfers=transfers,
        cosines=cosines,
        steering=[own.steering, second.steering],
    )


def _transfer(vector_of: Elicited, responses_of: Elicited, options: MethodOptions) -> Transfer:
    method, layer = vector_of.method, vector_of.layer
    sides = vector_of.examples, responses_of.examples
    both = _both_sides(vector_of, responses_of, options.seed)
    activations = torch.cat([each.activations[:, : layer + 1].float() for each in sides])
    held_out = hold_out(activations, both, layers=[layer], methods=[method], options=options)
    start = len(vector_of.questions)
    margins = held_out.margins.get((method, layer), np.full(len(both.questions), np.nan))[start:]
    split = Split(
        [Fold(fold.test[start:], fold.training[start:]) for fold in both.folds],
        responses_of.examples.split.is_positive,
        responses_of.questions,
        responses_of.examples.split.pairs,
    )
    known = bool(split.folds)
    estimates = estimates_of(margins, split, options.seed) if known else {}
    return Transfer(
        vector_of=vector_of.experiment,
        responses_of=responses_of.experiment,
        method=method,
        layer=layer,
        n=int(split.is_scored.sum()),
        accuracy=estimates.get("accuracy", Estimate()),
        auroc=estimates.get("auroc", Estimate()),
        own_auroc=vector_of.own_auroc,
        p_value=_p_value(margins, split, options.seed) if known else None,
    )


def _both_sides(vector_of: Elicited, responses_of: Elicited, seed: int) -> Split:
    """Both sides' examples, one after the other: the first train, the others are tested."""
    splits = vector_of.examples.split, responses_of.examples.split
    questions = np.concatenate([vector_of.questions, responses_of.questions])
    is_positive = np.concatenate([each.is_positive for each in splits])
    is_tested = np.arange(len(questions)) >= len(vector_of.questions)
    pairs = None
    if splits[0].pairs is not None and splits[1].pairs is not None:
        # Other pairs, though they have the same numbers.
        pairs = np.concatenate([splits[0].pairs, splits[1].pairs + splits[0].pairs.max() + 1])
    folds = []
    fold_of = fold_numbers(questions, _N_FOLDS, seed)
    for number in np.unique(fold_of):
        test, training = is_tested & (fold_of == number), ~is_tested & (fold_of != number)
        labels = is_positive[training]
        if test.any() and labels.any() and not labels.all():
            folds.append(Fold(test, training))
    return Split(folds, is_positive, questions, pairs)


def _p_value(margins: Array, split: Split, seed: int) -> float | None:
    """The larger p-value of swapping pairs and swapping questions; None where neither can be."""
    groups = [split.questions] if split.crossed_pairs is None else [split.pairs, split.questions]
    labelings = [
        swap_poles(split.is_positive, g, _N_LABELINGS, seed) for g in groups if g is not None
    ]
    values = []
    for each in labelings:
        if each.n_groups:
            scores = _rank_scores(margins, split, each.labels)
            # The vector's sign is given: a labeling's mirror image is another, with the other sign.
            both = np.concatenate([scores, -scores])
            values.append(float((both >= scores[0] - 1e-9).mean()))
    return max(values, default=None)


def _rank_scores(margins: Array, split: Split, labels: Array) -> Array:
    """`rank_score` under each of `[n_labelings, n_examples]` labels."""
    won, variance = np.zeros(len(labels)), np.zeros(len(labels))
    for fold in split.folds:
        truth = labels[:, fold.test]
        n = truth.sum(axis=1)
        m = truth.shape[1] - n
        won += truth @ rankdata(margins[fold.test]) - n * (n + 1) / 2 - n * m / 2
        variance += n * m * (n + m + 1) / 12
    scores: Array = won / np.sqrt(np.maximum(variance, 1e-300))
    return scores


def _opinion(
    transfers: Sequence[Transfer], doubts: Sequence[LayerCosine], significance: float
) -> Opinion:
    if not doubts and all(
        (each.auroc.value or 0.0) >= SAME_TRAIT
        and each.p_value is not None
        and each.p_value <= significance
        for each in transfers
    ):
        return "agree"
    separates_own = all((each.own_auroc.value or 0.0) >= SAME_TRAIT for each in transfers)
    is_below = any(
        each.auroc.high is not None and each.auroc.high < SAME_TRAIT for each in transfers
    )
    return "disagree" if separates_own and is_below else "unclear"


def _sentence(
    opinion: Opinion,
    transfers: tuple[Transfer, Transfer],
    sides: tuple[Elicited, Elicited],
    doubts: Sequence[LayerCosine],
    significance: float,
) -> str:
    own, second = sides
    if own.elicited_by == second.elicited_by:
        names = [f"{each.experiment}'s" for each in sides]
        vectors, causes = names, [f"{each.experiment} elicits" for each in sides]
    else:
        names = [each.elicited_by.removesuffix("s") for each in sides]
        vectors = [f"the {name}" for name in names]
        causes = [f"the {each.elicited_by} elicit" for each in sides]
    there, back = (each.auroc.format(".2f") for each in transfers)
    figures = (
        f"{vectors[0]} vector separates {names[1]} responses at {there}, {vectors[1]} vector"
        f" {names[0]} responses at {back} (AUROC)"
    )
    if opinion == "agree":
        return f"{figures}: the same trait"
    if opinion == "disagree":
        return f"{figures}: what {causes[0]} is not what {causes[1]}"
    return f"{figures}: unclear, because {_doubt(transfers, doubts, significance)}"


def _doubt(
    transfers: Sequence[Transfer], doubts: Sequence[LayerCosine], significance: float
) -> str:
    for each in transfers:
        if (each.own_auroc.value or 0.0) < SAME_TRAIT:
            own = each.own_auroc.format(".2f")
            return f"{each.vector_of}'s vector separates its own responses at only {own}"
    if any(each.p_value is None or each.p_value > significance for each in transfers):
        return "swapped poles do as well"
    if any((each.auroc.value or 0.0) < SAME_TRAIT for each in transfers):
        return f"one is below {SAME_TRAIT:g}, and its interval is not"
    worst = doubts[0]
    return (
        f"their cosine at layer {worst.layer} is {worst.cosine:.2f}, and meaningless labels reach"
        f" {worst.chance:.2f}"
    )
