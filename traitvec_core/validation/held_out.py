"""Projections on vectors that were extracted without the example's question and instruction pair.

Responses under one instruction text share whatever that text does, and responses to one question
share the topic. A vector that only knows these texts or topics must not look good, so every example
is scored by a vector from other instruction pairs and other questions at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.experiment import VectorMethod
from traitvec_core.vectors.direction import Direction, MethodOptions
from traitvec_core.vectors.examples import Array, Examples, fold_numbers
from traitvec_core.vectors.extract import layer_examples, over_layers, training_accuracy
from traitvec_core.vectors.ica import ica_of_each
from traitvec_core.vectors.methods import METHODS
from traitvec_core.vectors.probe import fit_probe

__all__ = [
    "Fold",
    "HeldOut",
    "Split",
    "choice_groups",
    "held_out_margins",
    "hold_out",
    "split_examples",
]

_N_PAIR_FOLDS = 5
# Each example is tested once. Most pairs train, because they are few; of questions, two thirds do.
_N_QUESTION_FOLDS = 3
_N_FOLDS_BY_QUESTION = 5


@dataclass(frozen=True, eq=False)
class Fold:
    """What one vector is tested on, and what it is extracted from.

    Attributes:
        test: Mask `[n_examples]`.
        training: Mask `[n_examples]`: no question and no instruction pair of the test. Examples
            that share only one of the two with the test are in neither.
    """

    test: NDArray[np.bool_]
    training: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Split:
    """Which examples are held out together.

    Attributes:
        folds: Every example is tested in one of them; empty where the examples do not allow two.
        is_positive: `[n_examples]`.
        questions: `[n_examples]`: the number of each example's question, or group of questions.
        pairs: `[n_examples]`: the number of each example's instruction pair; None where there were
            no instructions, or they are not known.
    """

    folds: list[Fold]
    is_positive: NDArray[np.bool_]
    questions: NDArray[np.int64]
    pairs: NDArray[np.int64] | None

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """Whether each example is tested in a fold, `[n_examples]`."""
        scored: NDArray[np.bool_] = np.any(
            [np.zeros(len(self.questions), bool), *(fold.test for fold in self.folds)], axis=0
        )
        return scored

    @property
    def n_pairs(self) -> int | None:
        """Number of instruction pairs; None where they are not known."""
        return None if self.pairs is None else len(np.unique(self.pairs))

    @property
    def crossed_pairs(self) -> NDArray[np.int64] | None:
        """`pairs` where there are several, so that entire pairs can be held out; else None."""
        return self.pairs if (self.n_pairs or 0) > 1 else None

    @property
    def n_clusters(self) -> int:
        """Questions or instruction pairs, whichever are fewer; pairs only if there are several."""
        n_questions = len(np.unique(self.questions))
        return n_questions if self.crossed_pairs is None else min(n_questions, self.n_pairs or 0)


@dataclass(frozen=True, eq=False)
class HeldOut(Split):
    """Held-out projections of every method at every layer.

    Attributes:
        layers: Rows of the activation tensor.
        margins: For each method and layer `[n_examples]`: the distance to the threshold along the
            vector that was extracted without the example; NaN outside every fold.
        opposite_margins: The same for the same responses, read after the opposite instruction of
            their pair; empty where these were not captured.
        train_accuracies: For each method and layer, the balanced accuracy on the examples that each
            fold's vector was extracted from, averaged over folds.
        inner_accuracy: `[n_folds, n_layers]`: the probe's balanced accuracy inside each training
            split; −1 at a layer that was not requested.
    """

    layers: list[int]
    margins: dict[tuple[VectorMethod, int], Array]
    opposite_margins: dict[tuple[VectorMethod, int], Array]
    train_accuracies: dict[tuple[VectorMethod, int], float]
    inner_accuracy: Array

    @property
    def probe_margins(self) -> Array:
        """The probe's margins `[n_examples]`, at a layer chosen inside each training split."""
        margins = np.full(len(self.questions), np.nan)
        # argmax takes the first of equals: the earliest layer, which is the stronger claim.
        chosen = self.inner_accuracy.argmax(axis=1)
        for fold, column in zip(self.folds, chosen, strict=True):
            margins[fold.test] = self.margins["probe", self.layers[column]][fold.test]
        return margins


@dataclass(frozen=True, eq=False)
class _LayerResult:
    margins: dict[VectorMethod, Array]
    opposite: dict[VectorMethod, Array]
    accuracies: dict[VectorMethod, float]
    inner: Array


def hold_out(
    activations: torch.Tensor,
    split: Split,
    *,
    layers: Sequence[int],
    methods: Sequence[VectorMethod],
    opposite: torch.Tensor | None = None,
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> HeldOut:
    """Project every example on vectors that were extracted without its question and pair.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        split: From `split_examples`.
        layers: Rows to measure; 0 is always added.
        methods: Methods to measure; `probe` and `random` are always added.
        opposite: `[n_examples, n_layers, hidden_dim]`: the same responses, read after the opposite
            instruction of their pair.
        options: As for the extraction.
        on_layer: Called with every finished layer.
    """
    rows = sorted({0, *layers})
    names = tuple(dict.fromkeys([*methods, "probe", "random"]))
    folds = split.folds
    if not folds:
        return HeldOut(**vars(split), layers=rows, margins={}, opposite_margins={},
                       train_accuracies={}, inner_accuracy=np.zeros((0, len(rows))))  # fmt: skip

    def hold_out_at(layer: int) -> _LayerResult:
        examples, trainings = _examples_of(activations, layer, split)
        nothing = np.where(split.is_scored, 0.0, np.nan)
        result = _LayerResult({}, {}, {}, np.full(len(folds), -1.0))
        if layer not in layers and not all(map(_has_gap, trainings)):
            # At the last token of a prompt all embeddings are the same: no separation.
            nothings = dict.fromkeys(names, nothing)
            return _LayerResult(nothings, nothings, dict.fromkeys(names, 0.5), result.inner)
        again = None if opposite is None else opposite[:, layer].cpu().double().numpy()
        for method in names:
            directions, inner = _directions(method, trainings, options)
            if inner is not None and layer in layers:
                result.inner[:] = inner
            result.accuracies[method] = float(
                np.mean([
                    training_accuracy(direction, training)
                    for direction, training in zip(directions, trainings, strict=True)
                ])
            )  # fmt: skip
            result.margins[method] = _project(examples.values, folds, directions)
            if again is not None:
                result.opposite[method] = _project(again, folds, directions)
        return result

    measured = list(zip(rows, over_layers(hold_out_at, rows, on_layer), strict=True))
    places = [(name, row, result) for row, result in measured for name in names]
    return HeldOut(
        **vars(split),
        layers=rows,
        margins={(name, row): result.margins[name] for name, row, result in places},
        opposite_margins={}
        if opposite is None
        else {(name, row): result.opposite[name] for name, row, result in places},
        train_accuracies={(name, row): result.accuracies[name] for name, row, result in places},
        inner_accuracy=np.stack([result.inner for _, result in measured], axis=1),
    )


def held_out_margins(
    values: torch.Tensor,
    split: Split,
    method: VectorMethod,
    options: MethodOptions = MethodOptions(),
) -> Array:
    """Return one method's margins at one layer, exactly those of `hold_out`, and nothing else.

    Args:
        values: `[n_examples, hidden_dim]`.
        split: From `split_examples`.
        method: The method.
        options: As for the extraction.

    Returns:
        `[n_examples]`; NaN outside every fold.
    """
    if not split.folds:
        return np.full(len(split.questions), np.nan)

    def margins_at(layer: int) -> Array:
        examples, trainings = _examples_of(values[:, None], layer, split)
        directions, _ = _directions(method, trainings, options)
        return _project(examples.values, split.folds, directions)

    (margins,) = over_layers(margins_at, [0])
    return margins


def split_examples(
    is_positive: NDArray[np.bool_],
    questions: NDArray[np.int64],
    pairs: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Split:
    """Assign examples to folds; vectors, permutations and baselines all use these folds.

    With several instruction pairs, pairs go to five folds and questions to three; each of the 15
    combinations is tested by a vector from the other pairs and questions. With one pair, or pairs
    that are not known, questions go to five folds.

    Args:
        is_positive: `[n_examples]`.
        questions: `[n_examples]`: the number of the question, or of a group of similar ones.
        pairs: `[n_examples]`: the number of the instruction pair, where known.
        seed: For the order in which questions and pairs are assigned.
    """
    labels, topics = np.asarray(is_positive, bool), np.asarray(questions, np.int64)
    split = Split([], labels, topics, None if pairs is None else np.asarray(pairs, np.int64))
    wordings = split.crossed_pairs
    n_folds = _N_FOLDS_BY_QUESTION if wordings is None else _N_QUESTION_FOLDS
    of_question = fold_numbers(topics, n_folds, seed)
    of_pair = None if wordings is None else fold_numbers(wordings, _N_PAIR_FOLDS, seed)
    folds = []
    for pair_fold in [None] if of_pair is None else np.unique(of_pair):
        for question_fold in np.unique(of_question):
            test = of_question == question_fold
            training = ~test
            if of_pair is not None:
                test = test & (of_pair == pair_fold)
                training = training & (of_pair != pair_fold)
            inside = labels[training]
            if test.any() and inside.any() and not inside.all():
                folds.append(Fold(test, training))
    return replace(split, folds=folds if len(folds) > 1 else [])


def choice_groups(
    questions: NDArray[np.int64], pairs: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return what a probe holds out together when it chooses its C: instruction pairs, if it can.

    A C that was chosen on other questions under the same instructions would fit these wordings.
    With two pairs one would be left to train on, so then questions are held out.
    """
    if pairs is None or len(np.unique(pairs)) < 3:
        return np.asarray(questions, np.int64)
    return np.asarray(pairs, np.int64)


def _examples_of(
    activations: torch.Tensor, layer: int, split: Split
) -> tuple[Examples, list[Examples]]:
    """The examples at one layer, and those that each fold trains on."""
    groups = choice_groups(split.questions, split.pairs)
    examples = layer_examples(activations, layer, split.is_positive, groups)
    if examples.values.shape[0] <= examples.values.shape[1]:
        # Computed once here; every fold takes its part.
        _ = examples.gram
    return examples, [examples.subset(fold.training) for fold in split.folds]


def _directions(
    method: VectorMethod, trainings: Sequence[Examples], options: MethodOptions
) -> tuple[Sequence[Direction], Array | None]:
    """One direction per training split; for the probe, its inner accuracy in each, too."""
    if method == "probe":
        fits = [fit_probe(training, options) for training in trainings]
        accuracy = np.array([fit.inner_accuracy for fit in fits])
        return [fit.direction for fit in fits], np.where(np.isfinite(accuracy), accuracy, -1.0)
    if method == "ica":
        return ica_of_each(trainings, options), None
    return [METHODS[method](training, options) for training in trainings], None


def _project(values: Array, folds: Sequence[Fold], directions: Sequence[Direction]) -> Array:
    """Each example's distance to the threshold, along the direction of its fold."""
    margins = np.full(len(values), np.nan)
    for fold, direction in zip(folds, directions, strict=True):
        length = np.linalg.norm(direction.vector)
        margins[fold.test] = (values[fold.test] @ direction.vector - direction.threshold) / length
    return margins


def _has_gap(examples: Examples) -> bool:
    """Whether the poles differ by more than rounding."""
    return bool(np.linalg.norm(examples.gap) > 1e-12 * np.abs(examples.values).max())
