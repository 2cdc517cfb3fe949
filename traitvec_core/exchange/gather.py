"""Select and read the vectors to export."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle, ExportedVector, trait_record
from traitvec_core.exchange.file_formats.format import LayerConvention
from traitvec_core.exchange.model_files import model_type_of
from traitvec_core.stages.staleness import staleness_of_vector
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation
from traitvec_core.storage.vector_verdict import verdict_on, warn_if_not_usable, warn_if_stale

if TYPE_CHECKING:
    from traitvec_core.validation.manifests import VectorRow, VectorsManifest

__all__ = ["gather"]


def gather(
    experiment: ExperimentFolder,
    traits: Sequence[str],
    convention: LayerConvention,
    *,
    method: str | None = None,
    layers: str | Sequence[int] | None = None,
) -> Bundle:
    """Select and read the vectors to export; warns of traits whose vectors are bad or stale.

    Args:
        experiment: The experiment.
        traits: Names of its traits.
        convention: How the format counts layers.
        method: The vectors' method, or `all`; by default, each trait's recommended one.
        layers: Our layers, or `all`. By default all layers if readers pick from the file, else the
            recommended one, or the method's best layer on held-out questions.

    Raises:
        TraitvecError: If a vector is missing, has changed, or is at a layer that the format cannot
            hold, or if the traits have different models.
    """
    vectors: list[ExportedVector] = []
    notes: list[str] = []
    records: dict[str, dict[str, Any]] = {}
    shapes = set()
    for name in traits:
        folder = experiment.trait(name)
        manifest, captured = _manifests(folder)
        recommended = folder.recommended()
        shapes.add((manifest.model, captured.n_layers, captured.hidden_dim))
        for chosen in _methods(folder, manifest, recommended, method):
            rows = {row.layer: row for row in manifest.vectors if row.method == chosen}
            selected = _layers(folder, rows, recommended, convention, layers)
            left_out = sorted(set(rows) - set(convention.holdable(rows)))
            if left_out and layers == "all":
                notes.append(f"{name}: {convention.name} cannot hold layers {left_out}; left out")
            vectors += [
                ExportedVector(
                    name,
                    chosen,
                    layer,
                    folder.read_vector(chosen, layer).float(),
                    _metadata(rows[layer], recommended),
                )
                for layer in selected
            ]
        is_judged = recommended is not None and recommended.verdict is not None
        stale = staleness_of_vector(folder, is_judged=is_judged)
        records[name] = {**trait_record(folder), "stale": stale}
        # At the caller of `export_vectors`, who chose the trait.
        if recommended is not None:
            what = f"{name} ({recommended.method}_layer{recommended.layer})"
            warn_if_not_usable(what, recommended.verdict, recommended.reasons, stacklevel=4)
        warn_if_stale(name, stale, stacklevel=4)
    if len(shapes) != 1:
        raise TraitvecError(
            f"{display_path(experiment.path)}: the traits' vectors are from different models"
            f" ({', '.join(sorted(model for model, *_ in shapes))}); export them one by one"
        )
    model, n_layers, hidden_dim = shapes.pop()
    return Bundle(
        experiment.name, model, model_type_of(model), n_layers, hidden_dim,
        tuple(vectors), records, tuple(notes),
    )  # fmt: skip


def _manifests(folder: TraitFolder) -> "tuple[VectorsManifest, ActivationsManifest]":
    from traitvec_core.validation.manifests import VectorsManifest

    manifest, captured = folder.manifest(VectorsManifest), folder.manifest(ActivationsManifest)
    vectors, activations = folder.provenance("vectors"), folder.provenance("activations")
    content = None if activations is None else activations.content
    if vectors is None or content is None or vectors.inputs.get("activations") != content:
        raise TraitvecError(
            f"{display_path(folder.path)}: the activations changed after the vectors were made;"
            " materialize vectors again"
        )
    return manifest, captured


def _metadata(row: "VectorRow", recommended: Recommendation | None) -> dict[str, Any]:
    verdict, reasons = verdict_on(recommended, row.method, row.layer)
    return {**row.model_dump(), "verdict": verdict, "reasons": list(reasons)}


def _methods(
    folder: TraitFolder,
    manifest: "VectorsManifest",
    recommended: Recommendation | None,
    method: str | None,
) -> list[str]:
    available = list(dict.fromkeys(str(row.method) for row in manifest.vectors))
    if not available:
        raise TraitvecError(
            f"{display_path(folder.path)}: there are no vectors; materialize vectors again"
        )
    if method == "all":
        return available
    if method is None:
        if recommended is None:
            raise TraitvecError(
                f"{display_path(folder.path)}: no vector is recommended; choose a --method:"
                f" {', '.join(available)}"
            )
        return [recommended.method]
    if method not in available:
        raise TraitvecError(
            f"{display_path(folder.path)}: there are no vectors of method {method!r}; available:"
            f" {', '.join(available)}"
        )
    return [method]


def _layers(
    folder: TraitFolder,
    rows: "dict[int, VectorRow]",
    recommended: Recommendation | None,
    convention: LayerConvention,
    layers: str | Sequence[int] | None,
) -> list[int]:
    """Return the layers to export, sorted."""
    holdable = convention.holdable(rows)
    if not holdable:
        raise TraitvecError(
            f"{display_path(folder.path)}: {convention.name} cannot hold any of its layers"
            f" {sorted(rows)}; add another layer to the settings"
        )
    if layers == "all" or (layers is None and convention.is_menu):
        return holdable
    if layers is None:
        return [_best(folder, rows, recommended, holdable)]
    for layer in layers:
        if layer not in rows:
            raise TraitvecError(
                f"{display_path(folder.path)}: there is no vector at layer {layer}; available:"
                f" {', '.join(map(str, sorted(rows)))}"
            )
        convention.index(int(layer))
    return sorted({int(layer) for layer in layers})


def _best(
    folder: TraitFolder,
    rows: "dict[int, VectorRow]",
    chosen: Recommendation | None,
    holdable: list[int],
) -> int:
    """Return the recommended layer if it has this method and the format holds it, else the best."""
    if chosen and chosen.layer in holdable and rows[chosen.layer].method == chosen.method:
        return chosen.layer
    # The embedding output (layer 0) separates words, not traits.
    sizes = {layer: rows[layer].held_out_effect_size for layer in holdable if layer > 0}
    known = {layer: size for layer, size in sizes.items() if size is not None}
    if not known:
        raise TraitvecError(
            f"{display_path(folder.path)}: there are no held-out figures to choose a layer by; set"
            " --layers"
        )
    return max(known, key=lambda layer: known[layer])
