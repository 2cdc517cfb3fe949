"""Everything that is measured on a trait's vectors, from activations to values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from traitvec_core.experiment import ExperimentSettings, VectorMethod
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation
from traitvec_core.validation.chance import Chance, measure_chance
from traitvec_core.validation.chance_norm import chance_norms
from traitvec_core.validation.elicitation import instruction_of, question_of
from traitvec_core.validation.evidence import LabelledExamples, VectorEvidence, measure_evidence
from traitvec_core.validation.forecast import Forecast, forecast_steering, paired_cosine
from traitvec_core.validation.held_out import choice_groups, hold_out, split_examples
from traitvec_core.validation.question_topics import group_questions
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.response_counts import which_refuse
from traitvec_core.validation.separation import Separation, score_separation
from traitvec_core.vectors import MethodOptions, TraitVector, extract_vectors

__all__ = [
    "VectorMeasurements",
    "label_examples",
    "layers_of",
    "measure_vectors",
    "method_options",
    "n_steps",
]


@dataclass(frozen=True, eq=False)
class VectorMeasurements:
    """Vectors, and what is measured on them.

    Attributes:
        vectors: One per method and layer.
        chance_norms: The median norm of each under swapped labels, by method and layer.
        separation: Held-out figures.
        recommended: The vector that separates best; None when nothing was held out.
        evidence: What is measured on that vector alone.
        chance: Swapped labels and random directions.
        forecast: Whether steering has a chance.
    """

    vectors: list[TraitVector]
    chance_norms: dict[tuple[VectorMethod, int], float]
    separation: Separation
    recommended: Recommendation | None
    evidence: VectorEvidence | None
    chance: Chance
    forecast: Forecast


def label_examples(
    manifest: ActivationsManifest,
    activations: torch.Tensor,
    judged: pd.DataFrame,
    opposite: torch.Tensor | None,
    seed: int,
) -> LabelledExamples:
    """Say of each captured row what it is.

    Near-duplicate questions count as one, so that none is held out while its twin trains.

    Args:
        manifest: The activations' manifest.
        activations: `[n_examples, n_layers, hidden_dim]`, positives first.
        judged: The trait's judged responses, among them those of the rows.
        opposite: The same responses, read after the opposite instruction; None if not captured.
        seed: For what is held out together.
    """
    names = manifest.question_ids
    rows = judged.drop_duplicates("question_id").set_index("question_id").loc[names]
    numbers = np.array([question_of(name) for name in names])
    # One text per question number; the same text under two numbers is one question.
    texts = dict(zip(numbers.tolist(), rows["question"], strict=True))
    ordered = sorted(texts)
    topic_of = dict(zip(ordered, group_questions([texts[n] for n in ordered]), strict=True))
    return LabelledExamples(
        activations=activations,
        split=split_examples(
            np.arange(len(names)) < manifest.n_positive,
            np.array([topic_of[number] for number in numbers]),
            np.array([instruction_of(name) for name in names]),
            seed,
        ),
        responses=rows["response"].tolist(),
        is_refusal=which_refuse(rows),
        opposite=opposite,
    )


def measure_vectors(
    examples: LabelledExamples,
    layers: Sequence[int],
    methods: Sequence[VectorMethod],
    *,
    scale: str = "separation",
    options: MethodOptions = MethodOptions(),
    on_layer: Callable[[int], None] = lambda layer: None,
) -> VectorMeasurements:
    """Extract vectors by every method at every layer, and measure what else could explain them.

    Args:
        examples: The examples.
        layers: Rows of the activation tensor.
        methods: Vector methods.
        scale: Length of the vectors; see `extract_vectors`.
        options: Seed and penalties.
        on_layer: Called with each layer that a measurement has finished, `n_steps` times.
    """
    activations, split = examples.activations, examples.split
    known = split.is_positive, split.questions, split.pairs
    vectors = extract_vectors(
        activations, split.is_positive, choice_groups(split.questions, split.pairs),
        layers=layers, methods=methods, scale=scale, options=options, on_layer=on_layer,
    )  # fmt: skip
    held_out = hold_out(
        activations, split, layers=layers, methods=methods, opposite=examples.opposite,
        options=options, on_layer=on_layer,
    )  # fmt: skip
    separation = score_separation(held_out, options.seed)
    chosen = recommend(separation, [(v.method, v.layer) for v in vectors])
    chance = measure_chance(activations, held_out, seed=options.seed, on_layer=on_layer)
    norms = chance_norms(activations, *known, vectors, options=options, on_layer=on_layer)
    evidence, cosine = None, None
    if chosen is not None:
        evidence = measure_evidence(examples, *chosen.place, held_out=held_out, options=options)
        cosine = paired_cosine(activations, *known, chosen.layer)
        chosen.added_norm = next(
            v.relative_norm for v in vectors if (v.method, v.layer) == chosen.place
        )
    return VectorMeasurements(
        vectors=vectors,
        chance_norms=norms,
        separation=separation,
        recommended=chosen,
        evidence=evidence,
        chance=chance,
        forecast=forecast_steering(separation, chance, cosine),
    )


def method_options(settings: ExperimentSettings) -> MethodOptions:
    """Return the options of the vector methods that an experiment sets."""
    return MethodOptions(
        seed=settings.sampling.seed,
        gradient_penalty=settings.gradient_penalty,
        gradient_objective=settings.gradient_objective,
        probe_penalty=settings.probe_penalty,
    )


def layers_of(activations: torch.Tensor, settings: ExperimentSettings) -> list[int]:
    """Return the layers that an experiment extracts from."""
    n_blocks = activations.shape[1] - 1
    return list(range(1, n_blocks + 1)) if settings.layers == "all" else list(settings.layers)


def n_steps(layers: Sequence[int]) -> int:
    """Return how often `measure_vectors` calls `on_layer` at most."""
    # Extraction, what is held out, chance (which looks at the inner layers twice), and norms.
    n_inner = len([layer for layer in layers if layer]) or 1
    return 2 * len(layers) + len({0, *layers}) + 2 * n_inner
