"""Stage 3: vectors, and all that is measured on them."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings, VectorMethod
from traitvec_core.stages.context import StageContext, StageOutput, now
from traitvec_core.stages.inputs import content_of
from traitvec_core.stages.spec import StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json, dump_tensor

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from traitvec_core.validation.chance import Chance
    from traitvec_core.validation.explanations import Explanations
    from traitvec_core.validation.held_out import HeldOut
    from traitvec_core.validation.recommend import Recommendation
    from traitvec_core.validation.resampling import Stability
    from traitvec_core.validation.separation import Separation
    from traitvec_core.vectors import MethodOptions, TraitVector

__all__ = ["SPEC", "make_vectors"]

_N_RESAMPLES = 100


@dataclass(frozen=True)
class _Measured:
    separation: "Separation"
    by_instruction: "Separation"
    recommendation: "Recommendation | None"
    explanations: "Explanations | None"
    chance: "Chance"
    stability: "list[Stability]"


def make_vectors(context: StageContext) -> StageOutput:
    """Extract vectors, and hold them against everything that is not the trait."""
    import numpy as np

    from traitvec_core.validation.chance import measure_chance
    from traitvec_core.validation.elicitation import instruction_of, question_of
    from traitvec_core.validation.held_out import hold_out
    from traitvec_core.validation.recommend import recommend
    from traitvec_core.validation.separation import (
        cosines_between_methods,
        cosines_with_previous,
        measure_separation,
        score_separation,
    )
    from traitvec_core.vectors import MethodOptions, extract_vectors

    settings = context.settings
    captured = context.folder.metadata("activations")
    activations = context.folder.read_activations()
    groups = np.array([question_of(name) for name in captured["question_ids"]])
    is_positive = np.arange(len(groups)) < captured["n_positive"]
    n_blocks = activations.shape[1] - 1
    layers = list(range(1, n_blocks + 1)) if settings.layers == "all" else list(settings.layers)
    options = MethodOptions(
        seed=settings.sampling.seed,
        gradient_penalty=settings.gradient_penalty,
        gradient_objective=settings.gradient_objective,
        probe_penalty=settings.probe_penalty,
    )
    # Chance looks at the inner layers twice.
    inner = len([layer for layer in layers if layer]) or 1
    done, total = 0, len(layers) + 2 * len({0, *layers}) + 2 * inner

    def tick(_layer: int) -> None:
        nonlocal done
        done += 1
        context.bench.progress("vectors", min(done, total), total)

    vectors = extract_vectors(
        activations, is_positive, groups, layers=layers, methods=settings.methods,
        scale=settings.scale, options=options, on_layer=tick,
    )  # fmt: skip
    held_out = hold_out(
        activations, is_positive, groups, layers=layers, methods=settings.methods,
        options=options, on_layer=tick,
    )  # fmt: skip
    by_instruction = measure_separation(
        activations, is_positive, np.array(list(map(instruction_of, captured["question_ids"]))),
        layers=layers, methods=settings.methods, options=options, on_layer=tick,
    )  # fmt: skip
    separation = score_separation(held_out, options.seed)
    recommendation = recommend(separation, [(v.method, v.layer) for v in vectors])
    measured = _Measured(
        separation=separation,
        by_instruction=by_instruction,
        recommendation=recommendation,
        explanations=_explanations(context, activations, held_out, recommendation, options),
        chance=measure_chance(activations, held_out, seed=options.seed, on_layer=tick),
        stability=_stability(activations, is_positive, groups, recommendation, settings.methods,
                             options),
    )  # fmt: skip
    context.bench.progress("vectors", total, total)
    previous = cosines_with_previous(vectors, _previous(context, vectors))
    date = now()
    files: dict[str, bytes] = {}
    table = []
    for vector in vectors:
        score = separation.of(vector.method, vector.layer)
        metadata = {
            "trait": context.folder.name,
            "method": vector.method,
            "layer": vector.layer,
            "model": captured["model"],
            "vector_norm": vector.vector_norm,
            "train_accuracy": vector.train_accuracy,
            "extraction_date": date,
            "raw_norm": vector.raw_norm,
            "relative_norm": vector.relative_norm,
            "separation": vector.separation,
            "scale": settings.scale,
            "held_out_accuracy": score and score.accuracy,
            "held_out_auroc": score and score.auroc,
            "held_out_effect_size": score and score.effect_size,
            "held_out_separation": score and score.separation,
            "held_out_intervals": score and score.intervals,
            "n_positive": captured["n_positive"],
            "n_negative": captured["n_negative"],
        }
        stem = f"vectors/{vector.method}_layer{vector.layer}"
        files[f"{stem}.pt"] = dump_tensor(vector.vector)
        # The key ties each file to the run that made it; the manifest holds the whole record.
        files[f"{stem}_metadata.json"] = dump_json({**metadata, "key": context.provenance.key})
        table.append(metadata)
    return files, {
        "trait": context.folder.name,
        "model": captured["model"],
        "recommended": measured.recommendation and measured.recommendation.model_dump(),
        "separation": separation.model_dump(),
        "separation_by_instruction": measured.by_instruction.model_dump(),
        "explanations": measured.explanations and measured.explanations.model_dump(),
        "held_out_projections": recommendation and _projections(held_out, recommendation),
        "chance": measured.chance.model_dump(),
        "stability": [found.model_dump() for found in measured.stability],
        "cosines": [found.model_dump() for found in cosines_between_methods(vectors)],
        "previous_cosines": [found.model_dump() for found in previous],
        "vectors": table,
    }


def _projections(held_out: "HeldOut", recommendation: "Recommendation") -> dict[str, Any]:
    """Held-out projections on the recommended vector, in the order of the activations."""
    import numpy as np

    method, layer = recommendation.method, recommendation.layer
    margins = held_out.margins[method, layer]
    return {
        "method": method,
        "layer": layer,
        "margins": [float(margin) if np.isfinite(margin) else None for margin in margins],
    }


def _explanations(
    context: StageContext,
    activations: "torch.Tensor",
    held_out: "HeldOut",
    recommendation: "Recommendation | None",
    options: "MethodOptions",
) -> "Explanations | None":
    """What else explains the recommended vector."""
    from traitvec_core.validation.explanations import measure_explanations
    from traitvec_core.validation.response_counts import which_refuse

    if recommendation is None:
        return None
    judged = context.folder.read_responses().set_index("question_id")
    rows = judged.loc[context.folder.metadata("activations")["question_ids"]]
    texts = rows["response"]
    return measure_explanations(
        activations, held_out, method=recommendation.method, layer=recommendation.layer,
        # Characters: tokens end at their limit, and count thinking.
        responses=texts.tolist(), n_tokens=texts.str.len().tolist(),
        is_refusal=which_refuse(rows), options=options,
    )  # fmt: skip


def _stability(
    activations: "torch.Tensor",
    is_positive: "NDArray[np.bool_]",
    groups: "NDArray[np.int64]",
    recommendation: "Recommendation | None",
    methods: tuple[VectorMethod, ...],
    options: "MethodOptions",
) -> "list[Stability]":
    """At the recommended layer, of the recommended method and of those that are quick to resample.

    At every layer it would take as long as all the rest.
    """
    from traitvec_core.validation.resampling import CONVEX_METHODS, bootstrap_stability

    if recommendation is None:
        return []
    measured = [name for name in methods if name in {*CONVEX_METHODS, recommendation.method}]
    return bootstrap_stability(
        activations, is_positive, groups, layers=[recommendation.layer], methods=measured,
        n_resamples=_N_RESAMPLES, options=options,
    )  # fmt: skip


def _previous(
    context: StageContext, vectors: "list[TraitVector]"
) -> "dict[tuple[VectorMethod, int], torch.Tensor]":
    """The vectors that lie there still from the last time."""
    found: dict[tuple[VectorMethod, int], torch.Tensor] = {}
    for vector in vectors:
        with suppress(TraitvecError):
            found[vector.method, vector.layer] = context.folder.read_vector(
                vector.method, vector.layer
            )
    return found


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    # The texts are read for what else could explain the vectors.
    return content_of(folder, "activations", "judged_responses")


SPEC = StageSpec(
    name="vectors",
    upstream=("activations",),
    version="2",
    settings=(
        "methods",
        "layers",
        "scale",
        "gradient_penalty",
        "gradient_objective",
        "probe_penalty",
        "sampling.seed",
    ),
    inputs=_inputs,
    make=make_vectors,
    place=lambda settings: "here",
)
