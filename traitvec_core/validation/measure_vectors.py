"""Everything that is measured on a trait's vectors, from activations to values."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from traitvec_core.experiment import ExperimentSettings, VectorMethod
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation
from traitvec_core.validation.chance import Chance, measure_chance
from traitvec_core.validation.elicitation import instruction_of, question_of
from traitvec_core.validation.explanations import Explanations, measure_explanations
from traitvec_core.validation.held_out import HeldOut, hold_out
from traitvec_core.validation.manifests import HeldOutProjections
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.resampling import CONVEX_METHODS, Stability, bootstrap_stability
from traitvec_core.validation.response_counts import which_refuse
from traitvec_core.validation.separation import (
    Separation,
    measure_separation,
    score_separation,
)
from traitvec_core.vectors import MethodOptions, TraitVector, extract_vectors

__all__ = ["Examples", "VectorMeasurements", "measure_vectors", "n_steps"]

_N_RESAMPLES = 100


@dataclass(frozen=True, eq=False)
class Examples:
    """The activations of a trait, with what each row is.

    Attributes:
        manifest: Their manifest.
        activations: `[n_examples, n_layers, hidden_dim]`, positives first.
        judged: The trait's judged responses, among them those of the rows; None where the texts
            are not known, and then nothing else that could explain the vector is measured.
    """

    manifest: ActivationsManifest
    activations: torch.Tensor
    judged: pd.DataFrame | None

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """Which rows are positive."""
        return np.arange(len(self.manifest.question_ids)) < self.manifest.n_positive

    @property
    def questions(self) -> NDArray[np.int64]:
        """The number of each row's question."""
        return np.array([question_of(name) for name in self.manifest.question_ids])

    @property
    def instructions(self) -> NDArray[np.int64]:
        """The number of each row's instruction pair."""
        return np.array([instruction_of(name) for name in self.manifest.question_ids])


@dataclass(frozen=True, eq=False)
class VectorMeasurements:
    """Vectors, and what is measured on them.

    Attributes:
        vectors: One per method and layer.
        separation: Held-out figures; whole questions are held out.
        separation_by_instruction: The same with whole instruction pairs held out.
        recommended: The vector that separates best; None when nothing was held out.
        explanations: What else could explain it.
        held_out_projections: Held-out projections on it.
        chance: Permuted labels and random directions.
        stability: Cosines between resamples of the questions.
    """

    vectors: list[TraitVector]
    separation: Separation
    separation_by_instruction: Separation
    recommended: Recommendation | None
    explanations: Explanations | None
    held_out_projections: HeldOutProjections | None
    chance: Chance
    stability: list[Stability]


def measure_vectors(
    examples: Examples, settings: ExperimentSettings, *, on_layer: Callable[[int], None]
) -> VectorMeasurements:
    """Extract vectors by every method at every layer, and measure what else could explain them.

    Args:
        examples: The activations and responses.
        settings: Methods, layers, scale and seed.
        on_layer: Called with each layer that a measurement has finished, `n_steps` times.
    """
    layers = _layers(examples, settings)
    options = MethodOptions(
        seed=settings.sampling.seed,
        gradient_penalty=settings.gradient_penalty,
        gradient_objective=settings.gradient_objective,
        probe_penalty=settings.probe_penalty,
    )
    activations, is_positive = examples.activations, examples.is_positive
    vectors = extract_vectors(
        activations, is_positive, examples.questions, layers=layers,
        methods=settings.methods, scale=settings.scale, options=options, on_layer=on_layer,
    )  # fmt: skip
    held_out = hold_out(
        activations, is_positive, examples.questions, layers=layers,
        methods=settings.methods, options=options, on_layer=on_layer,
    )  # fmt: skip
    by_instruction = measure_separation(
        activations, is_positive, examples.instructions, layers=layers,
        methods=settings.methods, options=options, on_layer=on_layer,
    )  # fmt: skip
    separation = score_separation(held_out, options.seed)
    chosen = recommend(separation, [(v.method, v.layer) for v in vectors])
    return VectorMeasurements(
        vectors=vectors,
        separation=separation,
        separation_by_instruction=by_instruction,
        recommended=chosen,
        explanations=_explanations(examples, held_out, chosen, options) if chosen else None,
        held_out_projections=_projections(held_out, chosen) if chosen else None,
        chance=measure_chance(activations, held_out, seed=options.seed, on_layer=on_layer),
        stability=_stability(examples, chosen, settings.methods, options) if chosen else [],
    )


def n_steps(examples: Examples, settings: ExperimentSettings) -> int:
    """Return how often `measure_vectors` calls `on_layer`."""
    layers = _layers(examples, settings)
    # Extraction, two ways to hold out, and chance, which looks at the inner layers twice.
    n_inner = len([layer for layer in layers if layer]) or 1
    return len(layers) + 2 * len({0, *layers}) + 2 * n_inner


def _layers(examples: Examples, settings: ExperimentSettings) -> list[int]:
    n_blocks = examples.activations.shape[1] - 1
    return list(range(1, n_blocks + 1)) if settings.layers == "all" else list(settings.layers)


def _projections(held_out: HeldOut, chosen: Recommendation) -> HeldOutProjections:
    margins = held_out.margins[chosen.place]
    return HeldOutProjections(
        method=chosen.method,
        layer=chosen.layer,
        margins=[float(margin) if np.isfinite(margin) else None for margin in margins],
    )


def _explanations(
    examples: Examples,
    held_out: HeldOut,
    chosen: Recommendation,
    options: MethodOptions,
) -> Explanations | None:
    """What else explains the recommended vector."""
    if examples.judged is None:
        return None
    rows = examples.judged.set_index("question_id").loc[examples.manifest.question_ids]
    texts = rows["response"]
    return measure_explanations(
        examples.activations, held_out, method=chosen.method, layer=chosen.layer,
        # Characters: tokens end at their limit, and count thinking.
        responses=texts.tolist(), n_tokens=texts.str.len().tolist(),
        is_refusal=which_refuse(rows), options=options,
    )  # fmt: skip


def _stability(
    examples: Examples,
    chosen: Recommendation,
    methods: tuple[VectorMethod, ...],
    options: MethodOptions,
) -> list[Stability]:
    """Stability at the recommended layer; at every layer it would take as long as everything else.

    Measured for the recommended method, and for those that are quick to resample.
    """
    measured = [name for name in methods if name in {*CONVEX_METHODS, chosen.method}]
    return bootstrap_stability(
        examples.activations, examples.is_positive, examples.questions, layers=[chosen.layer],
        methods=measured, n_resamples=_N_RESAMPLES, options=options,
    )  # fmt: skip
