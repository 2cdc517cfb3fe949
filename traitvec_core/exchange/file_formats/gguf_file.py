"""GGUF control vectors, as llama.cpp and repeng read them.

llama.cpp (`common_control_vector_load`, `llama_adapter_cvec`) reads one-dimensional float32 tensors
`direction.N` with N ≥ 1, and adds coefficient · direction.N to the output of block N, counted from
0. Its own `cvector-generator`, however, writes the direction of block N − 1 as `direction.N`.
repeng and EasySteer read and write the block's own number, as we do; EasySteer has N = 0 too.
"""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.file_formats.format import Format, LayerConvention
from traitvec_core.storage.files import display_path
from traitvec_core.storage.vector_verdict import describe_verdict

if TYPE_CHECKING:
    import torch

__all__ = ["GGUF", "ControlVector", "read_gguf", "write_gguf"]

_ARCHITECTURE = "controlvector"
# llama.cpp adds direction.N to the output of block N, counted from 0, and refuses N = 0; repeng
# reads and writes the same numbers.
_LAYERS = LayerConvention("gguf", -1, 2, "direction.{index}", is_menu=False)


_DIRECTION = re.compile(r"direction\.(\d{1,5})")


@dataclass(frozen=True)
class ControlVector:
    """What a GGUF control vector holds.

    Attributes:
        vectors: By our layer, float32 `[hidden_dim]`.
        method: EasySteer's name of the method; empty in files of other tools.
        record: Our own provenance; empty in files of other tools.
    """

    vectors: "dict[int, torch.Tensor]"
    method: str
    record: dict[str, Any]


def read_gguf(path: Path) -> ControlVector:
    """Read a GGUF control vector of traitvec, repeng, EasySteer or llama.cpp.

    Raises:
        TraitvecError: If the file is none, or its directions are not of the residual stream, not
            finite, or of different widths.
    """
    import torch
    from gguf import GGUFReader

    where = display_path(path)
    try:
        reader = GGUFReader(path)
        fields = {
            name: field.contents()
            for name, field in reader.fields.items()
            if not name.startswith("tokenizer.")
        }
        tensors = [(tensor.name, tensor.tensor_type.name, tensor.data) for tensor in reader.tensors]
    except Exception as error:  # the reader indexes into broken files
        raise TraitvecError(f"{where}: is not a GGUF file that can be read") from error
    if fields.get("general.architecture") != _ARCHITECTURE:
        raise TraitvecError(f"{where}: is a GGUF file, but not a control vector")
    component = _json_object(fields.get(f"{_ARCHITECTURE}.easysteer")).get("component")
    if component not in {None, "hidden_states"}:
        raise TraitvecError(f"{where}: directions of {component}, not of the residual stream")
    vectors = {}
    for name, kind, data in tensors:
        match = _DIRECTION.fullmatch(name)
        if match is None or kind not in {"F32", "F16"} or data.ndim != 1:
            raise TraitvecError(f"{where}: {name} is not a direction.N of one dimension, float")
        vectors[_LAYERS.layer(int(match[1]))] = torch.tensor(data).float()
    if len({len(vector) for vector in vectors.values()}) != 1:
        raise TraitvecError(f"{where}: has no directions, or directions of different widths")
    if not all(torch.isfinite(vector).all() for vector in vectors.values()):
        raise TraitvecError(f"{where}: contains NaN or infinity; recreate it")
    return ControlVector(
        vectors,
        str(fields.get(f"{_ARCHITECTURE}.method", "")),
        _json_object(fields.get("traitvec.provenance")),
    )


def _json_object(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_gguf(bundle: Bundle) -> bytes:
    """Return one trait's vectors as a GGUF control vector.

    It has the keys of both conventions: `controlvector.*` (llama.cpp's generator, repeng) and
    `adapter.*` (readers that treat control vectors as adapters). `traitvec.provenance` is JSON,
    `traitvec.verdict` the verdict in one line, for readers that show the header, and
    `traitvec.stale`, where it is there, why the vectors were out of date.

    Args:
        bundle: One trait and method, at layers from 2 (block 1) on.
    """
    from gguf import GGUFWriter

    tensors = {
        f"direction.{_LAYERS.index(item.layer)}": item.vector.float().contiguous().numpy()
        for item in bundle.vectors
    }
    first = bundle.vectors[0]
    # GGUFWriter only writes to a path.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = GGUFWriter(path, _ARCHITECTURE)
        writer.add_type("adapter")
        writer.add_name(f"{first.trait} ({first.method})")
        writer.add_string(f"{_ARCHITECTURE}.model_hint", bundle.model_type)
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(tensors))
        writer.add_string("adapter.type", "control_vector")
        writer.add_uint32("adapter.control_vector.layer_count", len(tensors))
        writer.add_string("traitvec.provenance", bundle.provenance)
        writer.add_string(
            "traitvec.verdict",
            describe_verdict(first.metadata.get("verdict"), first.metadata.get("reasons", ())),
        )
        if stale := bundle.traits.get(first.trait, {}).get("stale"):
            writer.add_string("traitvec.stale", stale)
        for name, values in tensors.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


GGUF = Format(_LAYERS, ".gguf", write_gguf)
