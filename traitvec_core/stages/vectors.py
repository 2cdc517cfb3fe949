"""Stage 3 on disk: vectors, and everything that is measured on them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import VectorMethod
from traitvec_core.stages.context import StageContext, StageOutput, now
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json, dump_tensor
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation
from traitvec_core.validation.chance import measure_chance
from traitvec_core.validation.elicitation import instruction_of, question_of
from traitvec_core.validation.explanations import Explanations, measure_explanations
from traitvec_core.validation.held_out import HeldOut, hold_out
from traitvec_core.validation.manifests import HeldOutProjections, VectorRow, VectorsManifest
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.resampling import CONVEX_METHODS, Stability, bootstrap_stability
from traitvec_core.validation.response_counts import which_refuse
from traitvec_core.validation.separation import (
    Separation,
    cosines_between_methods,
    cosines_with_previous,
    measure_separation,
    score_separation,
)
from traitvec_core.vectors import MethodOptions, TraitVector, extract_vectors

__all__ = ["make_vectors"]

_N_RESAMPLES = 100


@dataclass(frozen=True, eq=False)
class _Examples:
    """The activations of a trait, with what each row is."""

    manifest: ActivationsManifest
    activations: torch.Tensor

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        return np.arange(len(self.manifest.question_ids)) < self.manifest.n_positive

    @property
    def questions(self) -> NDArray[np.int64]:
        return np.array([question_of(name) for name in self.manifest.question_ids])

    @property
    def instructions(self) -> NDArray[np.int64]:
        return np.array([instruction_of(name) for name in self.manifest.question_ids])


def make_vectors(context: StageContext) -> StageOutput:
    """Extract vectors, and measure what else could explain them."""
    settings, folder = context.settings, context.folder
    examples = _Examples(folder.manifest(ActivationsManifest), folder.read_activations())
    n_blocks = examples.activations.shape[1] - 1
    layers = list(range(1, n_blocks + 1)) if settings.layers == "all" else list(settings.layers)
    options = MethodOptions(
        seed=settings.sampling.seed,
        gradient_penalty=settings.gradient_penalty,
        gradient_objective=settings.gradient_objective,
        probe_penalty=settings.probe_penalty,
    )
    tick, finish = _progress(context, layers)
    vectors = extract_vectors(
        examples.activations, examples.is_positive, examples.questions, layers=layers,
        methods=settings.methods, scale=settings.scale, options=options, on_layer=tick,
    )  # fmt: skip
    held_out = hold_out(
        examples.activations, examples.is_positive, examples.questions, layers=layers,
        methods=settings.methods, options=options, on_layer=tick,
    )  # fmt: skip
    by_instruction = measure_separation(
        examples.activations, examples.is_positive, examples.instructions, layers=layers,
        methods=settings.methods, options=options, on_layer=tick,
    )  # fmt: skip
    separation = score_separation(held_out, options.seed)
    chosen = recommend(separation, [(v.method, v.layer) for v in vectors])
    manifest = VectorsManifest(
        trait=folder.name,
        model=examples.manifest.model,
        recommended=chosen,
        separation=separation,
        separation_by_instruction=by_instruction,
        explanations=_explanations(folder, examples, held_out, chosen, options) if chosen else None,
        held_out_projections=_projections(held_out, chosen) if chosen else None,
        chance=measure_chance(examples.activations, held_out, seed=options.seed, on_layer=tick),
        stability=_stability(examples, chosen, settings.methods, options) if chosen else [],
        cosines=cosines_between_methods(vectors),
        previous_cosines=cosines_with_previous(vectors, _previous(folder, vectors)),
        vectors=_rows(context, examples.manifest, vectors, separation),
    )
    finish()
    files: dict[str, bytes] = {}
    for vector, row in zip(vectors, manifest.vectors, strict=True):
        files[f"vectors/{row.name}.pt"] = dump_tensor(vector.vector)
        # The key ties each file to the run that made it; the manifest holds the whole record.
        metadata = {**row.model_dump(), "key": context.provenance.key}
        files[f"vectors/{row.name}_metadata.json"] = dump_json(metadata)
    return files, manifest.model_dump()


def _progress(
    context: StageContext, layers: Sequence[int]
) -> tuple[Callable[[int], None], Callable[[], None]]:
    """What to call with each finished layer of each measurement, and at the end."""
    # Extraction, two ways to hold out, and chance, which looks at the inner layers twice.
    n_inner = len([layer for layer in layers if layer]) or 1
    done, total = 0, len(layers) + 2 * len({0, *layers}) + 2 * n_inner

    def tick(_layer: int) -> None:
        nonlocal done
        done += 1
        context.bench.progress("vectors", min(done, total), total)

    return tick, lambda: context.bench.progress("vectors", total, total)


def _rows(
    context: StageContext,
    captured: ActivationsManifest,
    vectors: Sequence[TraitVector],
    separation: Separation,
) -> list[VectorRow]:
    date = now()
    rows = []
    for vector in vectors:
        row = VectorRow(
            trait=context.folder.name,
            method=vector.method,
            layer=vector.layer,
            model=captured.model,
            vector_norm=vector.vector_norm,
            train_accuracy=vector.train_accuracy,
            extraction_date=date,
            raw_norm=vector.raw_norm,
            relative_norm=vector.relative_norm,
            separation=vector.separation,
            scale=context.settings.scale,
            n_positive=captured.n_positive,
            n_negative=captured.n_negative,
        )
        score = separation.of(vector.method, vector.layer)
        rows.append(row if score is None else row.with_score(score))
    return rows


def _projections(held_out: HeldOut, chosen: Recommendation) -> HeldOutProjections:
    margins = held_out.margins[chosen.place]
    return HeldOutProjections(
        method=chosen.method,
        layer=chosen.layer,
        margins=[float(margin) if np.isfinite(margin) else None for margin in margins],
    )


def _explanations(
    folder: TraitFolder,
    examples: _Examples,
    held_out: HeldOut,
    chosen: Recommendation,
    options: MethodOptions,
) -> Explanations | None:
    """What else explains the recommended vector."""
    judged = folder.read_responses().set_index("question_id")
    rows = judged.loc[examples.manifest.question_ids]
    texts = rows["response"]
    return measure_explanations(
        examples.activations, held_out, method=chosen.method, layer=chosen.layer,
        # Characters: tokens end at their limit, and count thinking.
        responses=texts.tolist(), n_tokens=texts.str.len().tolist(),
        is_refusal=which_refuse(rows), options=options,
    )  # fmt: skip


def _stability(
    examples: _Examples,
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


def _previous(
    folder: TraitFolder, vectors: Sequence[TraitVector]
) -> dict[tuple[VectorMethod, int], torch.Tensor]:
    """The vectors of the last run that are still on disk."""
    previous: dict[tuple[VectorMethod, int], torch.Tensor] = {}
    for vector in vectors:
        with suppress(TraitvecError):
            previous[vector.method, vector.layer] = folder.read_vector(vector.method, vector.layer)
    return previous
