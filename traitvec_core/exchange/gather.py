"""Choose and read the vectors that are to be exported."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle, ExportedVector, model_type_of, told_of
from traitvec_core.exchange.file_formats.format import LayerConvention
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest

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
    """Read the vectors to be exported.

    Args:
        experiment: The experiment.
        traits: Names of its traits.
        convention: How the target counts layers.
        method: The vectors' method, or `all`; each trait's recommended one when None.
        layers: Our layers, or `all`; when None, all where a reader picks from the file, else the
            recommended one (or the method's best on held-out questions).

    Raises:
        TraitvecError: If a vector does not exist, is not the one that was written, or cannot be
            named in the target, or the traits' models differ.
    """
    vectors: list[ExportedVector] = []
    notes: list[str] = []
    told: dict[str, dict[str, Any]] = {}
    shapes = set()
    for name in traits:
        folder = experiment.trait(name)
        manifest, captured = _manifests(folder)
        shapes.add((manifest.model, captured.n_layers, captured.hidden_dim))
        for chosen in _methods(folder, manifest, method):
            rows = {row.layer: row for row in manifest.vectors if row.method == chosen}
            wanted = _layers(folder, rows, convention, layers)
            left_out = sorted(set(rows) - set(convention.holdable(rows)))
            if left_out and layers == "all":
                notes.append(f"{name}: {convention.name} cannot name layers {left_out}: left out")
            vectors += [
                ExportedVector(
                    name,
                    chosen,
                    layer,
                    folder.read_vector(chosen, layer).float(),
                    rows[layer].model_dump(),
                )
                for layer in wanted
            ]
        told[name] = told_of(folder)
    if len(shapes) != 1:
        raise TraitvecError(
            f"{display_path(experiment.path)}: vectors of different models"
            f" ({', '.join(sorted(model for model, *_ in shapes))}) do not belong into one file;"
            " export them one by one"
        )
    model, n_layers, hidden_dim = shapes.pop()
    return Bundle(
        experiment.name, model, model_type_of(model), n_layers, hidden_dim,
        tuple(vectors), told, tuple(notes),
    )  # fmt: skip


def _manifests(folder: TraitFolder) -> "tuple[VectorsManifest, ActivationsManifest]":
    from traitvec_core.validation.manifests import VectorsManifest

    manifest, captured = folder.manifest(VectorsManifest), folder.manifest(ActivationsManifest)
    made, base = folder.provenance("vectors"), folder.provenance("activations")
    if made is None or base is None or made.inputs.get("activations") != base.content:
        raise TraitvecError(
            f"{display_path(folder.path)}: the activations changed after the vectors were made;"
            " materialize vectors again"
        )
    return manifest, captured


def _methods(folder: TraitFolder, manifest: "VectorsManifest", method: str | None) -> list[str]:
    there = list(dict.fromkeys(str(row.method) for row in manifest.vectors))
    if not there:
        raise TraitvecError(
            f"{display_path(folder.path)}: `vectors` made none; materialize it again"
        )
    if method == "all":
        return there
    if method is None:
        chosen = folder.recommended()
        if chosen is None:
            raise TraitvecError(
                f"{display_path(folder.path)}: no vector is recommended; name a --method:"
                f" {', '.join(there)}"
            )
        return [chosen.method]
    if method not in there:
        raise TraitvecError(
            f"{display_path(folder.path)}: there are no vectors of method {method!r}; there are:"
            f" {', '.join(there)}"
        )
    return [method]


def _layers(
    folder: TraitFolder,
    rows: "dict[int, VectorRow]",
    convention: LayerConvention,
    layers: str | Sequence[int] | None,
) -> list[int]:
    """The layers to export."""
    able = convention.holdable(rows)
    if not able:
        raise TraitvecError(
            f"{display_path(folder.path)}: {convention.name} can hold none of its layers"
            f" {sorted(rows)}"
        )
    if layers == "all" or (layers is None and convention.is_menu):
        return able
    if layers is None:
        return [_best(folder, rows, able)]
    for layer in layers:
        if layer not in rows:
            raise TraitvecError(
                f"{display_path(folder.path)}: there is no vector at layer {layer}; there are:"
                f" {', '.join(map(str, sorted(rows)))}"
            )
        convention.index(int(layer))
    return sorted({int(layer) for layer in layers})


def _best(folder: TraitFolder, rows: "dict[int, VectorRow]", able: list[int]) -> int:
    """The recommended layer if it is one of this method that the target holds, else the best."""
    chosen = folder.recommended()
    if chosen and chosen.layer in able and rows[chosen.layer].method == chosen.method:
        return chosen.layer
    # At the embeddings words are told apart, not traits.
    sizes = {layer: rows[layer].held_out_effect_size for layer in able if layer > 0}
    known = {layer: size for layer, size in sizes.items() if size is not None}
    if not known:
        raise TraitvecError(
            f"{display_path(folder.path)}: no layer was held out, so none is best; name --layers"
        )
    return max(known, key=lambda layer: known[layer])
