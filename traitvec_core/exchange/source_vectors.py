"""Read the vectors of an imported file, with what is known of how they were made."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.gguf_file import read_gguf
from traitvec_core.exchange.file_formats.persona_vectors import read_persona_tensor
from traitvec_core.exchange.file_formats.pt_archive import read_record
from traitvec_core.storage.files import display_path
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    import torch

__all__ = ["SourceVectors", "layers_in", "read_source_vectors", "source_verdict"]

_AFTER_NORM = (
    "taken after the final norm (hidden_states[-1]), so not in the residual stream: use it neither"
    " for steering nor for comparing"
)
# Far more than any model has; a record must not make us allocate.
_MAX_LAYERS = 1000


@dataclass(frozen=True)
class SourceVectors:
    """The vectors of one file.

    Attributes:
        rows: float32 `[n_layers + 1, hidden_dim]`; rows of layers without a vector are zero.
        marked: By layer, why its vector should not be used.
        source: The file's name and hash; of our own exports also model, verdict and reasons.
        layers: Layers that have a vector, including those that are marked.
        model: The model, if the file names it.
    """

    rows: "torch.Tensor"
    marked: dict[int, str]
    source: dict[str, Any]
    layers: list[int]
    model: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, hidden_dim), with the embedding output among the layers."""
        return len(self.rows), self.rows.shape[1]


def read_source_vectors(path: Path, shape: tuple[int, int] | None) -> SourceVectors:
    """Read a persona-vectors tensor (`.pt`) or a control vector (`.gguf`).

    traitvec's own exports say inside which layers were extracted, and their last row is taken
    before the final norm. That counts only if it describes the vectors in the file.

    Args:
        path: The file.
        shape: (n_layers, hidden_dim) of the experiment's model; None if unknown.

    Raises:
        TraitvecError: If the file holds anything else, or vectors of another shape.
    """
    raw = path.read_bytes()
    method = ""
    if path.suffix.lower() == ".gguf":
        rows, method, record = _read_control_vector(path, shape)
    else:
        rows = read_persona_tensor(raw, display_path(path))
        record = read_record(raw) or {}
        _check_shape(path, len(rows), rows.shape[1], shape)
    layers = layers_in(rows)
    if not layers:
        raise TraitvecError(f"{display_path(path)}: all vectors are zero; recreate the file")
    is_ours = _recorded_layers(record) == layers
    source = {"file": path.name, "sha256": content_hash(raw)}
    # EasySteer, which names the method, reads the residual stream; repeng reads hidden_states[-1].
    last = len(rows) - 1
    is_after_norm = not is_ours and not method and last in layers
    return SourceVectors(
        rows,
        {last: _AFTER_NORM} if is_after_norm else {},
        source | ({"methods": [method]} if method else {}) | (_source(record) if is_ours else {}),
        layers,
        str(record["model"]) if is_ours and "model" in record else None,
    )


def _read_control_vector(
    path: Path, shape: tuple[int, int] | None
) -> "tuple[torch.Tensor, str, dict[str, Any]]":
    """Return a control vector's rows by layer, its method, and our record of it."""
    import torch

    control = read_gguf(path)
    width = len(next(iter(control.vectors.values())))
    recorded = control.record.get("n_layers")
    least = max(control.vectors) + 1
    if isinstance(recorded, int) and least <= recorded <= _MAX_LAYERS:
        n_layers = recorded
    elif shape is not None:
        n_layers = max(least, shape[0])
    else:
        # The file does not say how many blocks the model has; the last one here may not be it.
        n_layers = max(least + 1, 3)
    _check_shape(path, n_layers, width, shape)
    rows = torch.zeros(n_layers, width)
    for layer, vector in control.vectors.items():
        rows[layer] = vector
    return rows, control.method, control.record


def _check_shape(path: Path, n_layers: int, width: int, shape: tuple[int, int] | None) -> None:
    if shape is not None and (n_layers, width) != shape:
        raise TraitvecError(
            f"{display_path(path)}: shape {n_layers} × {width}, but the experiment's model has"
            f" {shape[0]} × {shape[1]} (layers × hidden_dim); these are another model's vectors"
        )


def layers_in(rows: "torch.Tensor") -> list[int]:
    """Return the layers that have a vector; a row of zeros is no direction."""
    return [layer for layer, row in enumerate(rows) if row.any()]


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


def _recorded_layers(record: dict[str, Any]) -> list[int]:
    """Return the layers that a record says were extracted; empty without a record of ours."""
    vectors = record.get("vectors")
    if record.get("made_by") != "traitvec" or not isinstance(vectors, list):
        return []
    layers = [item.get("layer") for item in vectors if isinstance(item, dict)]
    return sorted({layer for layer in layers if isinstance(layer, int)})


def _source(record: dict[str, Any]) -> dict[str, Any]:
    """Return what our own exports record of a trait's vectors."""
    source: dict[str, Any] = {"made_by": "traitvec", "model": str(record.get("model", ""))}
    vectors = [item for item in record["vectors"] if isinstance(item, dict)]
    source["methods"] = sorted({str(item.get("method")) for item in vectors})
    traits = record.get("traits")
    records = list(traits.values()) if isinstance(traits, dict) else []
    if len(records) == 1 and isinstance(records[0], dict):
        verdict, reasons = source_verdict(records[0].get("recommended"))
        if verdict is not None:
            source |= {"verdict": verdict, "reasons": list(reasons)}
    return source
