"""Vectors made by the persona-vectors code, kept beside the trait's own vectors."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.persona_vectors import read_persona_tensor
from traitvec_core.storage.files import display_path, write_atomically
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json

if TYPE_CHECKING:
    import torch

__all__ = [
    "ImportedVectors",
    "keep_imported_vectors",
    "read_imported_vectors",
]

# No stage writes to this folder, so none removes files from it.
_FOLDER = "imported_vectors"
_AFTER_NORM = (
    "taken after the final norm (hidden_states[-1]), so not in the residual stream: use it neither"
    " for steering nor for comparing"
)


@dataclass(frozen=True)
class ImportedVectors:
    """Vectors made by the persona-vectors code.

    Attributes:
        vectors: By layer, float32 `[hidden_dim]`; without those that are marked.
        marked: By layer, why its vector should not be used.
    """

    vectors: dict[int, "torch.Tensor"]
    marked: dict[int, str]


def keep_imported_vectors(
    folder: TraitFolder, tensors: dict[str, "torch.Tensor"], sources: dict[str, dict[str, Any]]
) -> None:
    """Write imported tensors beside the trait's own vectors, with the last layer marked.

    Args:
        folder: The trait.
        tensors: `[n_layers + 1, hidden_dim]` by position (`response_avg`, …).
        sources: Name and hash of the file of each.
    """
    from traitvec_core.storage.formats import dump_tensor

    for position, rows in tensors.items():
        write_atomically(folder.path / _FOLDER / f"{position}_diff.pt", dump_tensor(rows))
    record = {
        position: {
            "trait": folder.name,
            "position": position,
            "n_layers": len(rows),
            "hidden_dim": rows.shape[1],
            "marked": {str(len(rows) - 1): _AFTER_NORM},
            "source": sources[position],
        }
        for position, rows in tensors.items()
    }
    write_atomically(folder.path / _FOLDER / "metadata.json", dump_json(record))


def read_imported_vectors(folder: TraitFolder, position: str = "response_avg") -> ImportedVectors:
    """Read a trait's imported vectors, without the marked ones.

    Args:
        folder: The trait.
        position: `response_avg`, `prompt_avg` or `prompt_last`.

    Raises:
        TraitvecError: If no vectors were imported at this position.
    """
    path = folder.path / _FOLDER / f"{position}_diff.pt"
    record = _read_record(folder.path / _FOLDER / "metadata.json").get(position)
    if record is None or not path.is_file():
        raise TraitvecError(
            f"{display_path(path)} is missing; import a folder that has vectors at {position}"
        )
    rows = read_persona_tensor(path.read_bytes(), display_path(path))
    marked = {int(layer): why for layer, why in record["marked"].items()}
    return ImportedVectors(
        {layer: row for layer, row in enumerate(rows) if layer not in marked}, marked
    )


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record
