"""What else could separate the poles: length, words, refusing, embeddings, the instruction itself.

Every alternative is held out on the same folds as the vectors. How good it is shows how easily the
poles are separated without the model's inner layers; it does not show that the vector is wrong.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.draws import score_draws
from traitvec_core.validation.held_out import HeldOut, Split, choice_groups, hold_out
from traitvec_core.validation.separation import SeparationScore, score_separation
from traitvec_core.validation.shares import ShareOfVector, instruction_share, share_of_vector
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.extract import layer_examples
from traitvec_core.vectors.methods import METHODS

__all__ = [
    "Baseline",
    "Explanations",
    "LargestDimensions",
    "ShareOfVector",
    "classify_by_number",
    "classify_by_words",
    "measure_explanations",
]

BaselineName = Literal["length", "refusal", "words", "embeddings"]

# Words and, where a script has no spaces, its characters; every mark, as "!" may be the trait.
_TOKEN = r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+|[^\w\s]"  # noqa: S105
# Sun et al. 2024 find a handful of massive dimensions in each model.
_MAX_LARGEST = 5
# A word in fewer training responses does not generalise.
_MIN_RESPONSES = 2


class Baseline(BaseModel):
    """A classifier that does not see the inner layers, on the folds of the vectors.

    Attributes:
        name: `length`, `refusal` (one threshold on one number), `words` (bag of words), or
            `embeddings` (the probe at row 0).
        accuracy: Held-out balanced accuracy, with its interval over questions and pairs.
        auroc: Held-out AUROC.
    """

    name: BaselineName
    accuracy: Estimate
    auroc: Estimate


class LargestDimensions(BaseModel):
    """The dimensions with the largest activations, and the vector without them.

    Attributes:
        dimensions: Their indices, by mean square over the examples, the largest first.
        times_median: The largest one's root mean square over that of the median dimension.
        share_of_activations: Their share of the examples' mean squared norm.
        share_of_vector: Their share of the vector's squared norm; a vector spread evenly would have
            the number of them over `hidden_dim`.
        without: The held-out figures of the vector extracted without them; None if nothing else
            separates the poles at all.
    """

    dimensions: list[int]
    times_median: float
    share_of_activations: float
    share_of_vector: float
    without: SeparationScore | None


class Explanations(BaseModel):
    """Other explanations of the held-out figures.

    Attributes:
        method: Method of the vector that was examined.
        layer: Its row of the activation tensor.
        probe_accuracy: The probe's held-out balanced accuracy, at a layer chosen inside each
            training split. Balanced is the mean over the poles, 0.5 by chance.
        baselines: Classifiers without the inner layers.
        shares: How much of the vector's separation each of these explains, and how much the
            instruction does where it was read the other way round too.
        largest: The vector without the largest dimensions.
    """

    method: VectorMethod
    layer: int
    probe_accuracy: Estimate
    baselines: list[Baseline]
    shares: list[ShareOfVector]
    largest: LargestDimensions

    def baseline(self, name: str) -> Baseline | None:
        """Return one baseline, or None."""
        return next((each for each in self.baselines if each.name == name), None)

    def share(self, name: str) -> ShareOfVector | None:
        """Return one share, or None."""
        return next((each for each in self.shares if each.name == name), None)


def measure_explanations(
    activations: torch.Tensor,
    held_out: HeldOut,
    *,
    method: VectorMethod,
    layer: int,
    responses: Sequence[str],
    n_tokens: Sequence[float],
    is_refusal: Sequence[bool] | None = None,
    options: MethodOptions = MethodOptions(),
) -> Explanations | None:
    """Measure other explanations of what one vector separates.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        held_out: From `hold_out`.
        method: Method of the vector to examine, one of those held out.
        layer: Its row.
        responses: `[n_examples]`: the texts behind the activations, in their order.
        n_tokens: `[n_examples]`: their lengths, in tokens or characters.
        is_refusal: `[n_examples]`: whether each refuses to answer, where that is known.
        options: As for the extraction.

    Returns:
        The explanations, or None where the examples do not allow two folds.
    """
    if not held_out.folds:
        return None
    numbers: dict[BaselineName, Array] = {"length": np.log1p(np.asarray(n_tokens, np.float64))}
    if is_refusal is not None:
        numbers["refusal"] = np.asarray(is_refusal, np.float64)
    margins: dict[BaselineName, Array] = {
        **{name: classify_by_number(values, held_out) for name, values in numbers.items()},
        "words": classify_by_words(responses, held_out, options.seed),
        "embeddings": held_out.margins["probe", 0],
    }
    own, seed = held_out.margins[method, layer], options.seed
    covariates = {**margins, **numbers}
    shares = [
        share_of_vector(name, values, own, held_out, seed) for name, values in covariates.items()
    ]
    if (method, layer) in held_out.opposite_margins:
        opposite = held_out.opposite_margins[method, layer]
        shares.append(instruction_share(own, opposite, held_out, seed))
    return Explanations(
        method=method,
        layer=layer,
        probe_accuracy=_accuracy(held_out.probe_margins, held_out, seed),
        baselines=[
            Baseline(
                name=name,
                accuracy=_accuracy(each, held_out, seed),
                auroc=Estimate.from_cluster_draws(
                    score_draws(each, held_out, seed=seed)["auroc"], held_out.n_clusters, (0, 1)
                ),
            )
            for name, each in margins.items()
        ],
        shares=shares,
        largest=_largest_dimensions(activations, held_out, method, layer, options),
    )


def classify_by_number(values: Array, split: Split) -> Array:
    """Separate the poles by one threshold on one number, such as length.

    The threshold and its side have the best balanced accuracy on the training split; among equals,
    the middle of the widest gap.

    Args:
        values: `[n_examples]`.
        split: What is held out together.

    Returns:
        Held-out margins `[n_examples]`, above 0 for positive; NaN outside every fold.
    """
    margins = np.full(len(values), np.nan)
    for fold in split.folds:
        inside = split.is_positive[fold.training]
        sign, threshold = _best_threshold(values[fold.training], inside)
        margins[fold.test] = sign * (values[fold.test] - threshold)
    return margins


def classify_by_words(responses: Sequence[str], split: Split, seed: int = 0) -> Array:
    """Separate the poles by which words and marks occur: logistic regression, L2, C = 1.

    Vocabulary and weights come from the training split alone; a word must occur in two responses.

    Args:
        responses: `[n_examples]`.
        split: What is held out together.
        seed: For the solver.

    Returns:
        Held-out margins `[n_examples]`, above 0 for positive; NaN outside every fold.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    margins = np.where(split.is_scored, 0.0, np.nan)
    try:
        occurs = CountVectorizer(token_pattern=_TOKEN, binary=True).fit_transform(responses)
    except ValueError:
        # No response has a word, so nothing is called positive.
        return margins
    for fold in split.folds:
        known = np.asarray(occurs[fold.training].sum(axis=0)).ravel() >= _MIN_RESPONSES
        if not known.any():
            continue
        # For a hundred short texts many times faster than the default solver.
        model = LogisticRegression(
            class_weight="balanced", solver="liblinear", max_iter=1000, random_state=seed
        )
        model.fit(occurs[fold.training][:, known], split.is_positive[fold.training])
        margins[fold.test] = model.decision_function(occurs[fold.test][:, known])
    return margins


def _best_threshold(values: Array, is_positive: NDArray[np.bool_]) -> tuple[float, float]:
    """The side (1: positives are above) and threshold with the best balanced accuracy."""
    order = np.argsort(values, kind="stable")
    ordered, positive = values[order], is_positive[order]
    # After each example: positives and negatives so far, as shares of their pole.
    lead = np.cumsum(positive) / positive.sum() - np.cumsum(~positive) / (~positive).sum()
    gaps = np.diff(ordered)
    is_cut = gaps > 0
    if not is_cut.any():
        return 1.0, float(values[0])
    quality = np.where(is_cut, np.abs(lead[:-1]), -1.0)
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    at = int(best[gaps[best].argmax()])
    return (-1.0 if lead[at] > 0 else 1.0), float((ordered[at] + ordered[at + 1]) / 2)


def _accuracy(margins: Array, split: Split, seed: int) -> Estimate:
    draws = score_draws(margins, split, seed=seed)["balanced_accuracy"]
    return Estimate.from_cluster_draws(draws, split.n_clusters, (0, 1))


def _largest_dimensions(
    activations: torch.Tensor,
    held_out: HeldOut,
    method: VectorMethod,
    layer: int,
    options: MethodOptions,
) -> LargestDimensions:
    groups = choice_groups(held_out.questions, held_out.pairs)
    examples = layer_examples(activations, layer, held_out.is_positive, groups)
    squares = (examples.values**2).mean(axis=0)
    # In a small space five dimensions would be much of it.
    count = min(_MAX_LARGEST, max(1, len(squares) // 100))
    largest = np.argsort(-squares, kind="stable")[:count]
    vector = METHODS[method](examples, options).vector
    others = np.setdiff1d(np.arange(len(squares)), largest)
    try:
        without = hold_out(
            activations[:, [layer]][:, :, torch.from_numpy(others)],
            Split(held_out.folds, held_out.is_positive, held_out.questions, held_out.pairs),
            layers=[0], methods=[method], options=options,
        )  # fmt: skip
        score = score_separation(without, options.seed).of(method, 0)
    except TraitvecError:
        # Without these dimensions the poles are the same.
        score = None
    return LargestDimensions(
        dimensions=largest.tolist(),
        times_median=float(np.sqrt(squares[largest[0]] / max(np.median(squares), 1e-300))),
        share_of_activations=float(squares[largest].sum() / squares.sum()),
        share_of_vector=float((vector[largest] ** 2).sum() / (vector**2).sum()),
        without=score and score.model_copy(update={"layer": layer}),
    )
