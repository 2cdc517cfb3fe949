"""Which files a model name stands for, known without importing torch."""

import hashlib
from functools import lru_cache
from pathlib import Path

from traitvec_core.embedded import EMBEDDED_MODEL, embedded_model_path

__all__ = ["model_fingerprint", "resolve_model"]

# What the embedded model was measured at; no part of what it is.
_FIGURES = "figures.json"


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
