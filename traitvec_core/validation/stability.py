"""How much a vector depends on the questions and instruction pairs at hand."""

from collections.abc import Callable

import numpy as np
import torch
from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.draws import resampled
from traitvec_core.validation.held_out import Split, choice_groups
from traitvec_core.validation.labelings import swap_poles
from traitvec_core.vectors.direction import MethodOptions
from traitvec_core.vectors.examples import Array, Examples, span_of
from traitvec_core.vectors.extract import layer_examples, over_layers
from traitvec_core.vectors.gradient import optima
from traitvec_core.vectors.logistic import fit_many
from traitvec_core.vectors.methods import METHODS
from traitvec_core.vectors.probe import choose_c, standardised

__all__ = ["ResampledCosine", "Stability", "measure_stability"]

# Methods without a shortcut are rerun on every draw.
_N_RESAMPLES, _N_RERUNS = 100, 40
_N_LABELINGS, _N_RESAMPLES_OF_NOISE, _N_RERUNS_OF_NOISE = 19, 10, 2


class ResampledCosine(BaseModel):
    """Cosine of a vector with those from resampled groups.

    Attributes:
        of: What was drawn with replacement.
        cosine: Mean over the resamples, 2.5th and 97.5th percentile.
        noise: The 95th percentile of the same mean under swapped labels: a vector of noise also
            agrees with itself, because a resample repeats the same noise. None where labels cannot
            be swapped.
        n_resamples: Resamples that had both poles.
    """

    of: str
    cosine: Estimate
    noise: float | None
    n_resamples: int


class Stability(BaseModel):
    """How much a vector depends on the questions and instruction pairs at hand.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        resampled: Over questions, and over instruction pairs where there are several.
    """

    method: VectorMethod
    layer: int
    resampled: list[ResampledCosine]

    @property
    def weakest(self) -> ResampledCosine | None:
        """The resampling that changes the vector most."""
        measured = [each for each in self.resampled if each.cosine.value is not None]
        return min(measured, key=lambda each: each.cosine.value or 0.0, default=None)


def measure_stability(
    activations: torch.Tensor,
    split: Split,
    *,
    method: VectorMethod,
    layer: int,
    options: MethodOptions = MethodOptions(),
) -> Stability:
    """Extract from questions, then from instruction pairs, drawn with replacement.

    Entire groups are drawn, because examples of one group are similar. Compared with the same under
    swapped labels of entire pairs (of questions where pairs are not known).

    `mean_diff`, `probe` and `gradient` have one optimum and are solved from inner products. The
    probe keeps the C and the deviations of all examples, so this is the stability of its weights
    and not of these choices. Every other method (`ica`, a custom objective, an L1 probe) is rerun,
    on fewer draws.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        split: Questions and instruction pairs.
        method: Method of the vector.
        layer: Its row.
        options: As for the extraction.

    Raises:
        TraitvecError: If no draw has both poles.
    """
    groups = choice_groups(split.questions, split.pairs)
    examples = layer_examples(activations, layer, split.is_positive, groups)
    cosines_of = _solver(method, examples, options)
    n, n_of_noise = _N_RERUNS, _N_RERUNS_OF_NOISE
    if cosines_of is not None:
        n, n_of_noise = _N_RESAMPLES, _N_RESAMPLES_OF_NOISE
    run = cosines_of or (lambda labels, counts: _rerun(method, examples, labels, counts, options))
    swapped = swap_poles(
        split.is_positive,
        split.questions if split.crossed_pairs is None else split.crossed_pairs,
        _N_LABELINGS,
        options.seed,
    ).labels[1:]
    kinds = {"questions": split.questions}
    if split.crossed_pairs is not None:
        kinds["instruction pairs"] = split.crossed_pairs

    def measure(_layer: int) -> list[ResampledCosine]:
        entries = []
        for name, drawn_groups in kinds.items():
            counts = resampled(drawn_groups, n, options.seed)[1]
            cosines = _cosines(run, split.is_positive.astype(np.float64), counts)
            noise = [_cosines(run, labels, counts[:n_of_noise]) for labels in swapped]
            means = [each.mean() for each in noise if len(each)]
            if not len(cosines):
                raise TraitvecError(f"no draw of {name} has both poles, so none can be compared")
            low, high = np.percentile(cosines, [2.5, 97.5])
            entries.append(
                ResampledCosine(
                    of=name,
                    cosine=Estimate(value=float(cosines.mean()), low=float(low), high=float(high)),
                    noise=float(np.percentile(means, 95)) if means else None,
                    n_resamples=len(cosines),
                )
            )
        return entries

    # One problem of many small steps: threads inside would cost more than they save.
    [entries] = over_layers(measure, [layer])
    return Stability(method=method, layer=layer, resampled=entries)


_Cosines = Callable[[Array, Array], Array]
"""From labels `[n]` and counts `[b, n]` to each row's cosine with the first row's vector."""


def _cosines(run: _Cosines, labels: Array, counts: Array) -> Array:
    """Cosines of the vectors from counted examples with the vector from all of them."""
    usable = (counts @ labels > 0) & (counts @ (1 - labels) > 0)
    return run(labels, np.vstack([np.ones(len(labels)), counts[usable]]))


def _solver(method: VectorMethod, examples: Examples, options: MethodOptions) -> _Cosines | None:
    """The shortcut for this method; None if it has none."""
    n, hidden_dim = examples.values.shape
    is_default = options.gradient_objective is None
    if method == "mean_diff" or (method == "gradient" and is_default and n <= hidden_dim):
        gram = examples.gram
        penalty = 0.0 if method == "mean_diff" else options.gradient_penalty
        return lambda labels, counts: _cosines_with_first(
            optima(gram, labels > 0.5, counts, penalty), gram
        )
    if method == "probe" and options.probe_penalty == "l2":
        scaled = standardised(examples)
        span = span_of(scaled.points)
        c, _ = choose_c(span.coordinates, examples, options.seed)
        stretch = span.to_full(np.eye(span.coordinates.shape[1])) * scaled.inverse
        products = stretch @ stretch.T

        def solve(labels: Array, counts: Array) -> Array:
            target = np.tile(labels, (len(counts), 1))
            weights, _ = fit_many(span.coordinates, target, counts, c, around=0)
            return _cosines_with_first(weights, products)

        return solve
    return None


def _rerun(
    method: VectorMethod, examples: Examples, labels: Array, counts: Array, options: MethodOptions
) -> Array:
    swapped = examples.relabelled(labels > 0.5)
    vectors = []
    for count in counts:
        rows = np.repeat(np.arange(len(labels)), count.astype(int))
        vectors.append(METHODS[method](swapped.subset(rows), options).vector)
    return _cosines_with_first(np.array(vectors), None)


def _cosines_with_first(vectors: Array, gram: Array | None) -> Array:
    images = vectors if gram is None else vectors @ gram
    lengths = np.sqrt(np.maximum((images * vectors).sum(axis=1), 1e-300))
    cosines: Array = images[1:] @ vectors[0] / (lengths[1:] * lengths[0])
    return cosines
