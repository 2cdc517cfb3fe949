"""Whether a GGUF file is a language model that can be read; needs neither torch nor the weights."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from traitvec_core.errors import TraitvecError
from traitvec_core.models.gguf_header import GgufHeader

__all__ = ["check_gguf"]


def check_gguf(path: Path, header: GgufHeader) -> None:
    """Check a GGUF file by its header alone.

    Args:
        path: The file.
        header: Its header.

    Raises:
        TraitvecError: If it is no language model with a tokenizer, is truncated, or is quantized
            in a way that cannot be read.
    """
    name = f"model {str(path)!r}"
    kind = str(header.metadata.get("general.type", "model"))
    if header.architecture == "clip" or kind == "mmproj":
        raise TraitvecError(
            f"{name} is the image projector of a multimodal model; name the file of the model"
        )
    if kind != "model" or not header.tensors:
        what = f"of the type {kind!r}" if kind != "model" else "without weights"
        raise TraitvecError(f"{name} is a GGUF file {what}; name the file of a language model")
    if not header.tokens or header.metadata.get("tokenizer.ggml.model") in {None, "none"}:
        raise TraitvecError(
            f"{name} has no tokenizer, and a GGUF model must bring its own; use another file of"
            " this model, or its Hugging Face id"
        )
    n_bytes = path.stat().st_size
    needed = header.data_start + max(
        tensor.offset + _bytes_of(name, tensor.size, tensor.type) for tensor in header.tensors
    )
    if n_bytes < needed:
        raise TraitvecError(
            f"{name} is truncated: it has {n_bytes:,} of {needed:,} bytes; download it again"
        )


def _bytes_of(name: str, size: int, kind: int) -> int:
    try:
        known = GGMLQuantizationType(kind)
        block, n_bytes = GGML_QUANT_SIZES[known]
        # Some types have a name, but nobody has written their arithmetic in Python.
        dequantize(np.zeros((1, n_bytes), np.uint8), known)
    except (ValueError, KeyError, NotImplementedError):
        with suppress(ValueError):
            kind_name = GGMLQuantizationType(kind).name
            raise TraitvecError(_unknown_quantization(name, kind_name)) from None
        raise TraitvecError(_unknown_quantization(name, f"number {kind}")) from None
    return size // block * n_bytes


def _unknown_quantization(name: str, kind: str) -> str:
    return (
        f"{name} is quantized in a way that cannot be read here ({kind}); use another file of the"
        " same model, such as Q8_0 or Q4_K_M"
    )
