"""Converts a GGUF file to a plain model folder, once, and keeps it.

The folder is written beside its place and renamed when it is complete. A lock, which the kernel
releases if the process dies, lets a second process wait instead of doing the same work.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from traitvec_core.errors import TraitvecError, TraitvecWarning
from traitvec_core.models.gguf_check import check_gguf
from traitvec_core.models.gguf_details import (
    complete_config,
    complete_tokenizer,
    generation_config,
)
from traitvec_core.models.gguf_file import CONVERTER_VERSION, gguf_digest, gguf_folder
from traitvec_core.models.gguf_header import GgufHeader, read_gguf_header

__all__ = ["convert_gguf"]

_F32, _F16, _BF16 = 0, 1, 30
_PLAIN = {_F32: torch.float32, _F16: torch.float16, _BF16: torch.bfloat16}
# Frequencies of rotary embeddings, which become part of the configuration.
_NOT_WEIGHTS = ("rope_freqs.", "rope_factors_")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SPARE_BYTES = 64 * 2**20
_MAX_REASON_CHARS = 120


def convert_gguf(path: Path) -> Path:
    """Return a plain model folder with the content of a GGUF file; it is made at the first call.

    Blocks are dequantized to bfloat16; a file of plain numbers keeps their type. Tokenizer, chat
    template and end tokens are the file's.

    Args:
        path: The file.

    Raises:
        TraitvecError: If the file is damaged, is no language model, has no tokenizer, or holds
            what transformers cannot read; or if there is no space for the folder.
    """
    try:
        folder = gguf_folder(path)
        if folder.is_dir():
            return folder
        header = read_gguf_header(path)
        check_gguf(path, header)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            if not folder.is_dir():
                _convert(path, header, folder)
    except OSError as error:
        raise TraitvecError(_explain_disk(path, error)) from error
    return folder


def _dtype(header: GgufHeader) -> torch.dtype:
    # Norms and biases are float32 in every file, so the matrices decide.
    kinds = {tensor.type for tensor in header.tensors if len(tensor.shape) > 1}
    for kind, dtype in _PLAIN.items():
        if kinds == {kind}:
            return dtype
    return torch.bfloat16


# -- the folder -------------------------------------------------------------------------------


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with folder.with_name(f".{folder.name}.lock").open("a+b") as file:
        # Without lock support the work is done twice, and the first to finish wins.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(path: Path, header: GgufHeader, folder: Path) -> None:
    before = gguf_digest(path)
    weights = sum(_size(header)) * _dtype(header).itemsize
    free = shutil.disk_usage(folder.parent).free
    if free < weights + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, f"it needs {weights / 1e9:.1f} GB, {free / 1e9:.1f} are free")
    # Left by processes that died: a live one would hold the lock.
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        _write(path, header, temporary)
        if gguf_digest(path) != before:
            raise TraitvecError(
                f"model {str(path)!r} changed while it was read; start again when it is complete"
            )
        _record(path, before, temporary)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process was first, on a file system without locks.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _size(header: GgufHeader) -> Iterator[int]:
    return (t.size for t in header.tensors if not t.name.startswith(_NOT_WEIGHTS))


def _write(path: Path, header: GgufHeader, folder: Path) -> None:
    """Write model and tokenizer to a folder."""
    model, tokenizer = _read(path, header)
    missing = complete_tokenizer(tokenizer, header)
    n_weights = sum(parameter.numel() for parameter in model.parameters())
    extra = sum(_size(header)) - n_weights
    notes = [missing] if missing else []
    if extra:
        notes.append(
            f"transformers reads {n_weights:,} of its {sum(_size(header)):,} weights; activations"
            " may differ from llama.cpp's"
        )
    for note in notes:
        warnings.warn(f"model {path.name}: {note}", TraitvecWarning, stacklevel=2)
    model.generation_config = generation_config(header)
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code)) from error


def _read(path: Path, header: GgufHeader) -> tuple[Any, Any]:
    try:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError:
        raise TraitvecError(
            f"model {str(path)!r}: GGUF needs transformers 5.23 or newer; run"
            " `pip install -U transformers`"
        ) from None
    # In a folder that holds nothing else: transformers would read tokenizer files beside the file.
    with tempfile.TemporaryDirectory() as alone:
        (Path(alone) / "model.gguf").symlink_to(path.resolve())
        source: dict[str, Any] = {"gguf_file": "model.gguf", "local_files_only": True}
        try:
            config = AutoConfig.from_pretrained(alone, **source)
            complete_config(config, header, path)
            tokenizer = AutoTokenizer.from_pretrained(alone, **source)
            # Image encoders are in files of their own, so every model here is text only.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                alone,
                **source,
                config=config,
                dtype=_dtype(header),
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
        except (OSError, TraitvecError):
            raise
        except Exception as error:  # the readers below transformers raise errors of any type
            raise TraitvecError(_explain(path, header, error)) from error
    model, info = loaded
    lost = sorted(info["missing_keys"])
    if lost:
        raise TraitvecError(
            f"model {str(path)!r} lacks {len(lost)} weights that a {header.architecture} model"
            f" needs, such as {lost[0]}; use the model's Hugging Face id or folder"
        )
    # Plain from here on: nothing says any more that the weights were quantized.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer


def _record(path: Path, digest: str, folder: Path) -> None:
    import transformers

    record = {
        "file": path.name, "sha256": digest, "converter": CONVERTER_VERSION,
        "transformers": transformers.__version__,
    }  # fmt: skip
    (folder / "traitvec_source.json").write_text(json.dumps(record, indent=2) + "\n")
    readers = folder.stat().st_mode & 0o666
    for file in folder.iterdir():
        # safetensors writes for its user only, but a cache may be shared.
        file.chmod(readers)
        # After a power cut, a renamed folder must not hold empty files.
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


# -- what went wrong --------------------------------------------------------------------------


def _explain(path: Path, header: GgufHeader, error: Exception) -> str:
    import transformers

    name = f"model {str(path)!r}"
    text = " ".join(str(error).split())
    if "architecture" in text or "Unrecognized" in text or "model_type" in text:
        return (
            f"{name}: transformers {transformers.__version__} cannot read the architecture"
            f" {header.architecture!r} from GGUF; use the model's Hugging Face id or folder"
        )
    reason = text[:_MAX_REASON_CHARS].rstrip(".: ") or type(error).__name__
    return f"{name} could not be converted: {reason}; use the model's Hugging Face id or folder"


def _explain_disk(path: Path, error: OSError) -> str:
    name = f"model {str(path)!r}"
    reason = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return (
            f"{name}: no space for the converted model ({reason}); free some, or set HF_HOME to a"
            " larger disk"
        )
    return f"{name} could not be converted ({reason}); check the file, and the folder HF_HOME"
