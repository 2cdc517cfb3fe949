"""Stage 3: vectors, and everything that is measured on them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from traitvec_core.elicited_by import in_words_of
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings, VectorMethod
from traitvec_core.stages.context import StageContext, StageOutput, now
from traitvec_core.stages.inputs import content_of
from traitvec_core.stages.spec import StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json, dump_tensor
from traitvec_core.storage.manifests import ActivationsManifest

if TYPE_CHECKING:
    import torch

    from traitvec_core.validation.evidence import LabelledExamples
    from traitvec_core.validation.manifests import VectorRow
    from traitvec_core.validation.measure_vectors import VectorMeasurements
    from traitvec_core.vectors import TraitVector

__all__ = ["SPEC", "make_vectors", "read_examples"]


def make_vectors(context: StageContext) -> StageOutput:
    """Extract vectors, and measure what else could explain them."""
    from traitvec_core.validation.manifests import VectorsManifest
    from traitvec_core.validation.measure_vectors import (
        layers_of,
        measure_vectors,
        method_options,
        n_steps,
    )
    from traitvec_core.validation.separation import cosines_between_methods, cosines_with_previous

    settings, folder = context.settings, context.folder
    captured = folder.manifest(ActivationsManifest)
    examples = read_examples(folder, settings)
    layers = layers_of(examples.activations, settings)
    done, total = 0, n_steps(layers)

    def tick(_layer: int) -> None:
        nonlocal done
        done += 1
        context.bench.progress("vectors", min(done, total), total)

    measured = measure_vectors(
        examples, layers, settings.methods,
        scale=settings.scale, options=method_options(settings), on_layer=tick,
    )  # fmt: skip
    context.bench.progress("vectors", total, total)
    recommended = measured.recommended
    if recommended is not None:
        why = in_words_of(settings.elicitation, recommended.why)
        recommended = recommended.model_copy(update={"why": why})
    manifest = VectorsManifest(
        trait=folder.name,
        model=captured.model,
        recommended=recommended,
        separation=measured.separation,
        evidence=measured.evidence,
        chance=measured.chance,
        forecast=measured.forecast,
        cosines=cosines_between_methods(measured.vectors),
        previous_cosines=cosines_with_previous(
            measured.vectors, _previous(folder, measured.vectors)
        ),
        vectors=_rows(context, captured, measured),
    )
    files: dict[str, bytes] = {}
    for vector, row in zip(measured.vectors, manifest.vectors, strict=True):
        files[f"vectors/{row.name}.pt"] = dump_tensor(vector.vector)
        # The key ties each file to the run that made it; the manifest holds the whole record.
        metadata = {**row.model_dump(), "key": context.provenance.key}
        files[f"vectors/{row.name}_metadata.json"] = dump_json(metadata)
    return files, manifest.model_dump()


def read_examples(folder: TraitFolder, settings: ExperimentSettings) -> "LabelledExamples":
    """Read the activations of a trait, with what is known about each row."""
    from traitvec_core.validation.measure_vectors import label_examples

    return label_examples(
        folder.manifest(ActivationsManifest), folder.read_activations(), folder.read_responses(),
        folder.read_opposite_activations(), settings.sampling.seed,
    )  # fmt: skip


def _rows(
    context: StageContext,
    captured: ActivationsManifest,
    measured: "VectorMeasurements",
) -> "list[VectorRow]":
    from traitvec_core.validation.manifests import VectorRow

    date = now()
    rows = []
    for vector in measured.vectors:
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
            chance_norm=measured.chance_norms.get((vector.method, vector.layer)),
        )
        score = measured.separation.of(vector.method, vector.layer)
        rows.append(row if score is None else row.with_score(score))
    return rows


def _previous(
    folder: TraitFolder, vectors: "Sequence[TraitVector]"
) -> "dict[tuple[VectorMethod, int], torch.Tensor]":
    """The vectors of the last run that are still on disk."""
    previous: dict[tuple[VectorMethod, int], torch.Tensor] = {}
    for vector in vectors:
        with suppress(TraitvecError):
            previous[vector.method, vector.layer] = folder.read_vector(vector.method, vector.layer)
    return previous


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    # The texts are read for what else could explain the vectors.
    return content_of(folder, "activations", "judged_responses")


SPEC = StageSpec(
    name="vectors",
    upstream=("activations",),
    version="4",
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
