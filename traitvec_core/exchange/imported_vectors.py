"""Vectors made by the persona-vectors code, kept beside the trait's own vectors."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.persona_vectors import read_persona_tensor
from traitvec_core.exchange.source_vectors import SourceVectors, layers_in, source_verdict
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.manifests import VectorVerdict

if TYPE_CHECKING:
    import torch

__all__ = [
    "ImportedVectors",
    "keep_imported_vectors",
    "read_imported_vectors",
]

# No stage writes to this folder, so none removes files from it.
_FOLDER = "imported_vectors"


@dataclass(frozen=True)
class ImportedVectors:
    """Vectors that were imported.

    Attributes:
        vectors: By layer, float32 `[hidden_dim]`; without those that are marked, and without layers
            that were never extracted.
        marked: By layer, why its vector should not be used.
        source_verdict: The verdict that traitvec gave them where they were exported; None without
            one.
        source_reasons: Its reasons.
    """

    vectors: dict[int, "torch.Tensor"]
    marked: dict[int, str]
    source_verdict: VectorVerdict | None = None
    source_reasons: tuple[str, ...] = ()


def keep_imported_vectors(folder: TraitFolder, vectors: dict[str, SourceVectors]) -> None:
    """Write imported vectors beside the trait's own.

    Args:
        folder: The trait.
        vectors: By position (`response_avg`, …).
    """
    from traitvec_core.storage.formats import dump_tensor

    for position, item in vectors.items():
        folder.write(f"{_FOLDER}/{position}_diff.pt", dump_tensor(item.rows))
    record = {
        position: {
            "trait": folder.name,
            "position": position,
            "n_layers": item.shape[0],
            "hidden_dim": item.shape[1],
            "layers": item.layers,
            "marked": {str(layer): why for layer, why in item.marked.items()},
            "source": item.source,
        }
        for position, item in vectors.items()
    }
    folder.write(f"{_FOLDER}/metadata.json", dump_json(record))


def read_imported_vectors(folder: TraitFolder, position: str = "response_avg") -> ImportedVectors:
    """Read a trait's imported vectors, without the marked ones.

    Args:
        folder: The trait.
        position: `response_avg`, `prompt_avg` or `prompt_last`.

    Raises:
        TraitvecError: If no vectors were imported at this position.
    """
    path = folder.path / _FOLDER / f"{position}_diff.pt"
    record = _read_record(folder).get(position)
    if record is None or not path.is_file():
        raise TraitvecError(
            f"{display_path(path)} is missing; import a folder that has vectors at {position}"
        )
    rows = read_persona_tensor(folder.read(f"{_FOLDER}/{path.name}"), display_path(path))
    marked = {int(layer): why for layer, why in record["marked"].items()}
    verdict, reasons = source_verdict(record["source"])
    return ImportedVectors(
        {layer: rows[layer] for layer in layers_in(rows) if layer not in marked},
        marked,
        verdict,
        reasons,
    )


def _read_record(folder: TraitFolder) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(folder.read(f"{_FOLDER}/metadata.json"))
    except (OSError, ValueError):
        return {}
    return record
