"""How well each vector separates the poles where it has not seen them; how similar vectors are."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.draws import score_draws
from traitvec_core.validation.held_out import HeldOut, Split, hold_out, split_examples
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.extract import TraitVector

__all__ = [
    "Separation",
    "SeparationScore",
    "VectorCosine",
    "cosines_between_methods",
    "cosines_with_previous",
    "estimates_of",
    "measure_separation",
    "score_separation",
]

N_RESAMPLES = 200


class SeparationScore(BaseModel):
    """Held-out figures of one method at one layer.

    Every example is scored by a vector that was extracted without any example of its question or
    of its instruction pair. Intervals are over questions and pairs drawn with replacement, with the
    t quantile of whichever are fewer. The vectors are not refitted, so the intervals leave out how
    the vectors vary; one of a single point at 1.0 means that no draw contains an error.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        accuracy: Balanced accuracy: the mean over the poles of the share of held-out examples on
            their own side, 0.5 by chance however uneven the poles are.
        auroc: Chance that a held-out positive projects above a held-out negative of its fold.
        effect_size: Distance of the held-out class means over their pooled std (Cohen's d).
        separation: That distance itself, in activation units.
        train_accuracy: Balanced accuracy on the examples that each fold's vector was extracted
            from. It is 1.0 for any labels when there are more dimensions than examples; None where
            it was not measured.
    """

    method: VectorMethod
    layer: int
    accuracy: Estimate
    auroc: Estimate
    effect_size: Estimate
    separation: Estimate = Estimate()
    train_accuracy: float | None = None


class Separation(BaseModel):
    """Held-out separation over methods and layers.

    Attributes:
        scores: One entry for each method and layer, layer 0 (embeddings) and the `random` control
            included.
        probe_accuracy: Held-out balanced accuracy of the probe at a layer that is chosen inside
            each training split, so that choosing the best layer does not inflate it. Without a
            value when the examples do not allow two folds.
        n_folds: Folds used; a fold never divides a question or an instruction pair.
        n_held_out: Examples scored.
        n_questions: Questions, or groups of similar ones.
        n_pairs: Instruction pairs; None where they are not known.
        winner: The figures of the vector with the largest effect size, corrected for having won:
            each example counts for the vector that is best on other examples. Its method and layer
            are those of the overall best. None when nothing was held out.
    """

    scores: list[SeparationScore]
    probe_accuracy: Estimate
    n_folds: int
    n_held_out: int
    n_questions: int = 0
    n_pairs: int | None = None
    winner: SeparationScore | None = None

    @property
    def held_out_by(self) -> str:
        """What was held out together, in words."""
        if (self.n_pairs or 0) > 1:
            return "questions and instruction pairs that it has not seen"
        return "questions that it has not seen"

    def of(self, method: str, layer: int) -> SeparationScore | None:
        """Return one entry, or None."""
        return next((s for s in self.scores if s.method == method and s.layer == layer), None)


class VectorCosine(BaseModel):
    """Cosine of two vectors of one layer.

    Attributes:
        method: The method of the first.
        layer: Row of the activation tensor.
        other: The method of the second, or `previous`: the vector of the same method from the last
            materialization.
        cosine: From −1 to 1, and 0 if one of them is zero; unrelated directions are within
            about ±2/√hidden_dim of 0.
    """

    method: VectorMethod
    layer: int
    other: VectorMethod | str
    cosine: float


def measure_separation(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    questions: NDArray[np.int64],
    pairs: NDArray[np.int64] | None = None,
    *,
    layers: Sequence[int],
    methods: Sequence[VectorMethod],
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> Separation:
    """Measure held-out separation: questions and instruction pairs are held out at once.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        questions: `[n_examples]`: the number of the question that each example answers.
        pairs: `[n_examples]`: the number of its instruction pair; None if there were none.
        layers: Rows to measure; 0 is always added.
        methods: Methods to measure; `probe` and `random` are always added.
        options: As for the extraction.
        on_layer: Called with every finished layer.
    """
    held_out = hold_out(
        activations, split_examples(is_positive, questions, pairs, options.seed), layers=layers,
        methods=methods, options=options, on_layer=on_layer,
    )  # fmt: skip
    return score_separation(held_out, options.seed)


def score_separation(held_out: HeldOut, seed: int = 0) -> Separation:
    """Compute figures and intervals from held-out projections.

    Args:
        held_out: From `hold_out`.
        seed: For the draws of the intervals.
    """
    n_questions = len(np.unique(held_out.questions))
    if not held_out.folds:
        return Separation(scores=[], probe_accuracy=Estimate(), n_folds=0, n_held_out=0,
                          n_questions=n_questions, n_pairs=held_out.n_pairs)  # fmt: skip
    scores = [
        SeparationScore(
            method=method,
            layer=layer,
            train_accuracy=held_out.train_accuracies[method, layer],
            accuracy=estimates["accuracy"],
            auroc=estimates["auroc"],
            effect_size=estimates["effect_size"],
            separation=estimates["separation"],
        )
        for (method, layer), margins in held_out.margins.items()
        for estimates in [estimates_of(margins, held_out, seed)]
    ]
    return Separation(
        scores=scores,
        probe_accuracy=estimates_of(held_out.probe_margins, held_out, seed)["accuracy"],
        n_folds=len(held_out.folds),
        n_held_out=int(held_out.is_scored.sum()),
        n_questions=n_questions,
        n_pairs=held_out.n_pairs,
        winner=_winner(held_out, scores, seed),
    )


def estimates_of(margins: Array, split: Split, seed: int) -> dict[str, Estimate]:
    """Return the held-out figures of one classifier, named as in `SeparationScore`.

    Args:
        margins: `[n_examples]`: above 0 is called positive.
        split: What was held out together.
        seed: For the draws of the intervals.
    """
    draws = score_draws(margins, split, n_resamples=N_RESAMPLES, seed=seed)
    n = split.n_clusters
    return {
        "accuracy": Estimate.from_cluster_draws(draws["balanced_accuracy"], n, (0.0, 1.0)),
        "auroc": Estimate.from_cluster_draws(draws["auroc"], n, (0.0, 1.0)),
        "effect_size": Estimate.from_cluster_draws(draws["effect_size"], n),
        "separation": Estimate.from_cluster_draws(draws["separation"], n),
    }


def _winner(
    held_out: HeldOut, scores: Sequence[SeparationScore], seed: int
) -> SeparationScore | None:
    """The best vector's figures, with the choice repeated on other examples.

    The best of many layers and methods is partly lucky. Here each fold's examples count for the
    vector with the largest effect size on the examples that share a question or a pair with them,
    but not both: those were scored by vectors that never saw the fold's examples, as the fold's own
    vector never saw them. Examples that share neither would not do: their vectors were extracted
    from the fold's examples too, and are best where these happen to agree with them.
    """
    places = [
        (score.method, score.layer)
        for score in scores
        if score.method != "random" and score.layer != 0 and score.effect_size.value is not None
    ]
    if not places:
        return None
    sizes = {(s.method, s.layer): s.effect_size.value or 0.0 for s in scores}
    method, layer = max(places, key=lambda place: sizes[place])
    table = np.array([held_out.margins[place] for place in places])
    margins = np.full(table.shape[1], np.nan)
    for fold in held_out.folds:
        others = ~fold.test & ~fold.training & held_out.is_scored
        if not others.any():
            # Only questions are held out, so every other row trains.
            others = fold.training & held_out.is_scored
        effects, spreads = _effects(table[:, others], held_out.is_positive[others])
        best = int(np.nanargmax(effects)) if np.isfinite(effects).any() else 0
        # In units of its own spread: layers have different scales.
        margins[fold.test] = table[best, fold.test] / (spreads[best] or 1.0)
    estimates = estimates_of(margins, held_out, seed)
    return SeparationScore(
        method=method,
        layer=layer,
        accuracy=estimates["accuracy"],
        auroc=estimates["auroc"],
        effect_size=estimates["effect_size"],
    )


def _effects(margins: Array, is_positive: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Effect size and pooled deviation of each row of `[n_vectors, n_examples]`."""
    positive, negative = margins[:, is_positive], margins[:, ~is_positive]
    if min(positive.shape[1], negative.shape[1]) < 2:
        return np.full(len(margins), np.nan), np.ones(len(margins))
    spread = np.sqrt((positive.var(axis=1, ddof=1) + negative.var(axis=1, ddof=1)) / 2)
    gap = positive.mean(axis=1) - negative.mean(axis=1)
    effects: Array = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)
    return effects, spread


def cosines_between_methods(vectors: Sequence[TraitVector]) -> list[VectorCosine]:
    """Return the cosine of every two methods' vectors at every layer, each pair once."""
    return [
        VectorCosine(method=one.method, layer=one.layer, other=two.method,
                     cosine=_cosine(one.vector, two.vector))
        for index, one in enumerate(vectors)
        for two in vectors[index + 1 :]
        if one.layer == two.layer
    ]  # fmt: skip


def cosines_with_previous(
    vectors: Sequence[TraitVector],
    previous: Mapping[tuple[VectorMethod, int], torch.Tensor],
) -> list[VectorCosine]:
    """Return the cosine of every vector with the one that it replaces.

    Args:
        vectors: The new vectors.
        previous: The old ones `[hidden_dim]`, by method and layer. Those of another size belong to
            another model and are skipped.
    """
    return [
        VectorCosine(method=vector.method, layer=vector.layer, other="previous",
                     cosine=_cosine(vector.vector, old))
        for vector in vectors
        if (old := previous.get((vector.method, vector.layer))) is not None
        and old.shape == vector.vector.shape
    ]  # fmt: skip


def _cosine(one: torch.Tensor, two: torch.Tensor) -> float:
    first, second = one.double(), two.double()
    lengths = float(first.norm() * second.norm())
    return float(first @ second) / lengths if lengths > 0 else 0.0
