"""GGUF control vectors, as llama.cpp and repeng read them.

llama.cpp (`common_control_vector_load`, `llama_adapter_cvec`) reads one-dimensional float32 tensors
`direction.N` with N ≥ 1, and adds coefficient · direction.N to the output of block N, counted from
0. Its own `cvector-generator`, however, writes the direction of block N − 1 as `direction.N`.
repeng reads and writes the block's own number, as we do.
"""

import tempfile
from pathlib import Path

from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.file_formats.format import Format, LayerConvention
from traitvec_core.storage.vector_verdict import describe_verdict

__all__ = ["GGUF", "write_gguf"]

_ARCHITECTURE = "controlvector"
# llama.cpp adds direction.N to the output of block N, counted from 0, and refuses N = 0; repeng
# reads and writes the same numbers.
_LAYERS = LayerConvention("gguf", -1, 2, "direction.{index}", is_menu=False)


def write_gguf(bundle: Bundle) -> bytes:
    """Return one trait's vectors as a GGUF control vector.

    It has the keys of both conventions: `controlvector.*` (llama.cpp's generator, repeng) and
    `adapter.*` (readers that treat control vectors as adapters). `traitvec.provenance` is JSON,
    `traitvec.verdict` the verdict in one line, for readers that show the header.

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
        for name, values in tensors.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


GGUF = Format(_LAYERS, ".gguf", write_gguf)
