"""Vectors made by the persona-vectors code, kept beside the trait's own vectors."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.persona_vectors import read_persona_tensor
from traitvec_core.storage.files import display_path, write_atomically
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.manifests import VectorVerdict

if TYPE_CHECKING:
    import torch

__all__ = [
    "ImportedVectors",
    "keep_imported_vectors",
    "read_imported_vectors",
    "source_verdict",
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
        source_verdict: The verdict that traitvec gave them where they were exported; None without
            one.
        source_reasons: Its reasons.
    """

    vectors: dict[int, "torch.Tensor"]
    marked: dict[int, str]
    source_verdict: VectorVerdict | None = None
    source_reasons: tuple[str, ...] = ()


def keep_imported_vectors(
    folder: TraitFolder, tensors: dict[str, "torch.Tensor"], sources: dict[str, dict[str, Any]]
) -> None:
    """Write imported tensors beside the trait's own vectors, with the last layer marked.

    Args:
        folder: The trait.
        tensors: `[n_layers + 1, hidden_dim]` by position (`response_avg`, …).
        sources: Name, hash, and the source's verdict and reasons, of the file of each.
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
    verdict, reasons = source_verdict(record["source"])
    return ImportedVectors(
        {layer: row for layer, row in enumerate(rows) if layer not in marked},
        marked,
        verdict,
        reasons,
    )


def source_verdict(record: Any) -> tuple[VectorVerdict | None, tuple[str, ...]]:
    """Return the verdict and the reasons in a record; (None, ()) if it has none that is valid.

    Args:
        record: JSON with the keys `verdict` and `reasons`, from a file that anybody may have
            written.
    """
    verdict = record.get("verdict") if isinstance(record, dict) else None
    if verdict not in get_args(VectorVerdict):
        return None, ()
    reasons = record.get("reasons")
    return verdict, tuple(map(str, reasons)) if isinstance(reasons, list) else ()


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record
