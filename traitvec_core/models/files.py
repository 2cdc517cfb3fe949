"""Model names, load options and fingerprints; needs no torch."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from traitvec_core.embedded import EMBEDDED_MODEL, embedded_model_path
from traitvec_core.errors import TraitvecError
from traitvec_core.models.gguf_file import (
    CONVERTER_VERSION,
    find_gguf,
    gguf_digest,
    gguf_folder,
    gguf_revision,
)

__all__ = [
    "LoadOptions",
    "check_installed",
    "check_model",
    "is_model_missing",
    "is_same_model",
    "model_fingerprint",
    "model_identity",
    "resolve_model",
]

# Measurements of the embedded model, which are not part of the model itself.
_FIGURES = "figures.json"


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    Attributes:
        revision: Branch, tag or commit on the hub.
        dtype: `auto`, `float32`, `bfloat16` or `float16`. `auto` is float32 on a CPU; on a GPU it
            is bfloat16 where the hardware supports it. On older GPUs it is float16 for checkpoints
            made in float16, else bfloat16.
        device: A torch device; by default accelerate distributes the model over all devices.
        attention: `auto`, `sdpa`, `eager` or `flash_attention_2`; with `auto` transformers picks
            what the model supports.
        quantization: `none`, `8bit` or `4bit`, through bitsandbytes; needs a GPU.
        trust_remote_code: Whether to run Python code that comes with the model.
    """

    revision: str | None = None
    dtype: str = "auto"
    device: str | None = None
    attention: str = "auto"
    quantization: str = "none"
    trust_remote_code: bool = False


# Settings that need an optional package: the package, and the extra that installs it.
_PACKAGES = {
    "quantization: 8bit": ("bitsandbytes", "quantization"),
    "quantization: 4bit": ("bitsandbytes", "quantization"),
}


def check_installed(**settings: str) -> None:
    """Raise if a setting needs a package that is not installed.

    Args:
        settings: Names and values as in experiment.yaml, such as `engine="vllm"`.

    Raises:
        TraitvecError: Names the package and how to install it.
    """
    for name, value in settings.items():
        package, extra = _PACKAGES.get(f"{name}: {value}", ("", ""))
        if package and find_spec(package) is None:
            raise TraitvecError(
                f"{name}: {value} needs the package {package}; run `pip install"
                f" 'traitvec[{extra}]'` on a machine with a GPU, or change the setting"
            )


def check_model(name: str) -> None:
    """Check as far as possible without loading it that a model can be loaded.

    Of a GGUF file the header is read; other models are not looked at.

    Raises:
        TraitvecError: If the file does not exist, is damaged, or is no language model.
    """
    file = find_gguf(name)
    if file:
        from traitvec_core.models.gguf_check import check_gguf
        from traitvec_core.models.gguf_header import read_gguf_header

        check_gguf(file, read_gguf_header(file))


def resolve_model(name: str) -> str:
    """Return the argument for `from_pretrained`: a local folder or a hub id.

    For a GGUF file it is the folder of its conversion, which `load_language_model` makes.
    """
    if name == EMBEDDED_MODEL:
        return str(embedded_model_path())
    file = _readable_gguf(name)
    return str(gguf_folder(file)) if file else name


def model_fingerprint(name: str, revision: str | None = None) -> str:
    """Return a hash that changes when the model does.

    For a local folder it covers the content of small files, and size and modification time of the
    weights. For a GGUF file it covers the content, wherever the file is. For a hub id it covers
    name and revision: nothing else is known before the download.
    """
    file = _readable_gguf(name)
    if file:
        return hashlib.sha256(f"{gguf_digest(file)}:{CONVERTER_VERSION}".encode()).hexdigest()
    folder = Path(resolve_model(name))
    if not folder.is_dir():
        return hashlib.sha256(f"{name}@{revision or 'default'}".encode()).hexdigest()
    files = sorted(
        p
        for p in folder.iterdir()
        if p.suffix in {".safetensors", ".json", ".jinja", ".bin"} and p.name != _FIGURES
    )
    stamps = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _folder_hash(stamps)


def model_identity(name: str) -> str:
    """Return the name by which results know a model: for a GGUF file its hash, not its path."""
    file = _readable_gguf(name)
    return f"gguf {gguf_revision(file)}" if file else name


def is_same_model(name: str, recorded: str, revision: str | None) -> bool:
    """Whether a name means the model that metadata records; a GGUF file may have been moved.

    Args:
        name: A model's name, as in experiment.yaml.
        recorded: The name that the metadata records.
        revision: The revision that the metadata records.
    """
    return name == recorded or model_identity(name) == f"gguf {revision}"


def is_model_missing(name: str) -> bool:
    """Whether a model is named by a path, and nothing is there: it may be on another machine.

    A relative path without a leading dot reads like a hub id and counts as one.
    """
    path = Path(name).expanduser()
    is_path = path.is_absolute() or name.startswith(".") or path.suffix == ".gguf"
    return is_path and not path.exists()


def _readable_gguf(name: str) -> Path | None:
    """Return a model's GGUF file, or None if there is none; a bad path is reported by loading."""
    with suppress(TraitvecError, OSError):
        file = find_gguf(name)
        if file:
            gguf_digest(file)
        return file
    return None


@lru_cache(maxsize=32)
def _folder_hash(stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, mtime_ns in stamps:
        path = Path(name)
        digest.update(path.name.encode())
        # Hashing a 16 GB checkpoint would take longer than using it.
        is_small = size <= 64 * 2**20
        digest.update(path.read_bytes() if is_small else f"{size}:{mtime_ns}".encode())
    return digest.hexdigest()
