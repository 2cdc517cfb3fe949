"""The vector of a trait that is monitored, and the poles to compare its projections with."""

import re
from contextlib import suppress
from dataclasses import dataclass

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation, VectorVerdict
from traitvec_core.storage.vector_verdict import verdict_on
from traitvec_core.validation.manifests import VectorRow, VectorsManifest

__all__ = ["WatchedVector", "watch"]


@dataclass(frozen=True, eq=False)
class WatchedVector:
    """A vector that texts are projected on.

    Attributes:
        trait: The trait.
        name: `{method}_layer{layer}`, the name of its file.
        layer: The layer, counted from 1; 0 is the embedding output.
        vector: `[hidden_dim]`, pointing towards positive.
        spread: Distance between the means of the poles along it, activation units.
        poles: These means, of the negative and of the positive responses; None if not known.
        verdict: Whether the vector can be used; None while there is no verdict on it.
        reasons: What the verdict rests on, or why there is none, the gravest first.
        stale: Why it is out of date, in one line; None if it is not, or while its stage is made.
    """

    trait: str
    name: str
    layer: int
    vector: torch.Tensor
    spread: float
    poles: tuple[float, float] | None = None
    verdict: VectorVerdict | None = None
    reasons: tuple[str, ...] = ()
    stale: str | None = None


def watch(folder: TraitFolder, name: str | None = None) -> WatchedVector:
    """Read a trait's vector.

    Args:
        folder: The trait.
        name: `{method}_layer{layer}`, the name of its file; None for the recommended one.

    Raises:
        TraitvecError: If there is no such vector, or its file was changed.
    """
    manifest = folder.manifest(VectorsManifest)
    recommended = folder.recommended()
    row = _row(folder, manifest, recommended, name)
    vector = folder.read_vector(row.method, row.layer).float()
    if not torch.isfinite(vector).all() or not vector.any():
        raise TraitvecError(f"{_file_name(folder, row)} has no direction: it is zero or not finite")
    verdict, reasons = verdict_on(recommended, row.method, row.layer)
    return WatchedVector(
        trait=folder.name,
        name=row.name,
        layer=row.layer,
        vector=vector,
        spread=abs(row.separation),
        poles=_poles(folder, row.layer, vector),
        verdict=verdict,
        reasons=reasons,
    )


def _row(
    folder: TraitFolder,
    manifest: VectorsManifest,
    recommended: Recommendation | None,
    name: str | None,
) -> VectorRow:
    if name is None:
        if recommended is None:
            raise TraitvecError(
                f"{display_path(folder.path)}: no vector is recommended; choose one with --vector"
                " METHOD_layerN, such as mean_diff_layer16"
            )
        method, layer = str(recommended.method), recommended.layer
    else:
        match = re.fullmatch(r"(\w+)_layer(\d+)", name)
        if match is None:
            raise TraitvecError(
                f"{name!r} is not a vector name; write METHOD_layerN, such as mean_diff_layer16"
            )
        method, layer = match[1], int(match[2])
    row = manifest.row(method, layer)
    if row is not None:
        return row
    methods = ", ".join(dict.fromkeys(row.method for row in manifest.vectors))
    layers = sorted({row.layer for row in manifest.vectors})
    raise TraitvecError(
        f"{display_path(folder.path)}: there is no vector {method}_layer{layer}; there are:"
        f" {methods} at layers {', '.join(map(str, layers))}"
    )


def _poles(folder: TraitFolder, layer: int, vector: torch.Tensor) -> tuple[float, float] | None:
    """Return the mean projections of both poles; None if the activations are missing or changed."""
    vectors, activations = folder.provenance("vectors"), folder.provenance("activations")
    if vectors is None or activations is None:
        return None
    if vectors.inputs.get("activations") != activations.content:
        return None
    with suppress(TraitvecError):
        n_positive = folder.manifest(ActivationsManifest).n_positive
        projected = folder.read_activations()[:, layer].double() @ vector.double() / vector.norm()
        return float(projected[n_positive:].mean()), float(projected[:n_positive].mean())
    return None


def _file_name(folder: TraitFolder, row: VectorRow) -> str:
    return f"{display_path(folder.path)}/vectors/{row.name}.pt"
