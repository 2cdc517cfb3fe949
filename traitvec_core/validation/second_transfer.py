"""One elicitation's vector on the responses of another, to questions that it has not seen."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.stats import rankdata

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import Fold, Split, held_out_margins
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.validation.separation import estimates_of
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, fold_numbers

__all__ = ["Elicited", "SteeringEffect", "Transfer", "measure_transfer"]

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


def measure_transfer(
    vector_of: Elicited, responses_of: Elicited, options: MethodOptions = MethodOptions()
) -> Transfer:
    """Put one elicitation's vector to the other's responses.

    Args:
        vector_of: The elicitation of the vector.
        responses_of: That of the responses; activations of the same model and position.
        options: As for the extraction; its seed is also for draws and labelings.
    """
    method, layer = vector_of.method, vector_of.layer
    sides = vector_of.examples, responses_of.examples
    both = _both_sides(vector_of, responses_of, options.seed)
    values = torch.cat([each.activations[:, layer].float() for each in sides])
    start = len(vector_of.questions)
    margins = held_out_margins(values, both, method, options)[start:]
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
