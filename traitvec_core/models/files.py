"""Which files a model name stands for, and how to load them, known without importing torch."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from traitvec_core.embedded import EMBEDDED_MODEL, embedded_model_path
from traitvec_core.errors import TraitvecError

__all__ = ["LoadOptions", "check_installed", "model_fingerprint", "resolve_model"]

# What the embedded model was measured at; no part of what it is.
_FIGURES = "figures.json"


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    Attributes:
        revision: Branch, tag or commit on the hub.
        dtype: `auto`, `float32`, `bfloat16` or `float16`. `auto` is float32 on a CPU; on a GPU it
            is bfloat16 where the hardware has it, else what the checkpoint was made in.
        device: A torch device; by default accelerate spreads the model over what there is.
        attention: `auto`, `sdpa`, `eager` or `flash_attention_2`; `auto` leaves the choice to
            transformers, which knows what a model supports.
        quantization: `none`, `8bit` or `4bit`, through bitsandbytes; needs a GPU.
        trust_remote_code: Whether to run Python code that comes with the model.
    """

    revision: str | None = None
    dtype: str = "auto"
    device: str | None = None
    attention: str = "auto"
    quantization: str = "none"
    trust_remote_code: bool = False


# What some settings need beyond torch and transformers: the package, and the extra that brings it.
_PACKAGES = {
    "engine: vllm": ("vllm", "vllm"),
    "quantization: 8bit": ("bitsandbytes", "quantization"),
    "quantization: 4bit": ("bitsandbytes", "quantization"),
}


def check_installed(**settings: str) -> None:
    """Raise if a setting needs a package that is not installed.

    Args:
        settings: Names and values as in experiment.yaml, such as `engine="vllm"`.

    Raises:
        TraitvecError: Names the package and the way to get it.
    """
    for name, value in settings.items():
        package, extra = _PACKAGES.get(f"{name}: {value}", ("", ""))
        if package and find_spec(package) is None:
            raise TraitvecError(
                f"{name}: {value} needs {package}, which is not installed: `pip install"
                f" 'traitvec[{extra}]'` on a machine with a GPU, or change the setting"
            )


def resolve_model(name: str) -> str:
    """Return what to hand to `from_pretrained`: a local folder or a hub id."""
    return str(embedded_model_path()) if name == EMBEDDED_MODEL else name


def model_fingerprint(name: str, revision: str | None = None) -> str:
    """Return a hash that changes when the model does.

    A local folder is hashed by content (its small files) and by size and time (its weights); a hub
    id by its name and revision, since nothing else is known before it is downloaded.
    """
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


@lru_cache(maxsize=32)
def _folder_hash(stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, mtime_ns in stamps:
        path = Path(name)
        digest.update(path.name.encode())
        # Reading a 16 GB checkpoint to learn that it is unchanged would take longer than using it.
        small = size <= 64 * 2**20
        digest.update(path.read_bytes() if small else f"{size}:{mtime_ns}".encode())
    return digest.hexdigest()
