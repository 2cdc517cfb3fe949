"""GGUF files as models: which file a name means, its content hash, where its conversion is kept.

Needs no torch: what a stage was made from is checked without loading a model.
"""

import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from traitvec_core.errors import TraitvecError

__all__ = [
    "CONVERTER_VERSION",
    "find_gguf",
    "gguf_digest",
    "gguf_folder",
    "gguf_revision",
    "is_gguf_name",
]

CONVERTER_VERSION = 1
"""Raise it when the converter makes another model of the same file."""

_SUFFIX = ".gguf"
_REVISION = "sha256:"
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_MAX_LISTED = 4
# A file that changed this recently can change again without a new time stamp.
_SETTLED_S = 2.0


def is_gguf_name(name: str) -> bool:
    """Whether a model's name is the path of a GGUF file; the file need not exist."""
    return name.lower().endswith(_SUFFIX)


def find_gguf(name: str) -> Path | None:
    """Return the GGUF file that a model's name means, or None for any other kind of model.

    Args:
        name: The path of a `.gguf` file, or of a folder that holds one and no `config.json`.

    Raises:
        TraitvecError: If the file does not exist, the folder holds several, or the model is split
            into several files.
    """
    path = Path(name).expanduser()
    if is_gguf_name(name) and not path.is_dir():
        if not path.is_file():
            raise TraitvecError(f"model {name!r}: there is no such file; check the path")
        return _whole(name, path)
    if not path.is_dir() or (path / "config.json").exists():
        return None
    # Multimodal models come with the projector of their images beside them.
    files = sorted(
        file
        for file in path.iterdir()
        if is_gguf_name(file.name) and not file.name.lower().startswith("mmproj")
    )
    if not files:
        return None
    if len(files) > 1 and not all(_PART.search(file.name) for file in files):
        names = [file.name for file in files[:_MAX_LISTED]]
        more = f" and {len(files) - _MAX_LISTED} more" if len(files) > _MAX_LISTED else ""
        raise TraitvecError(
            f"model {name!r}: the folder holds several GGUF files ({', '.join(names)}{more});"
            " name one of them"
        )
    return _whole(name, files[0])


def _whole(name: str, path: Path) -> Path:
    part = _PART.search(path.name)
    if part and int(part[2]) > 1:
        raise TraitvecError(
            f"model {name!r} is split into {int(part[2])} files; join them with `llama-gguf-split"
            " --merge FIRST_PART whole.gguf`, and name the result"
        )
    return path


def gguf_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    It is read once: the digest is kept by path, size, times and inode, in the folder of
    conversions. Hashing 40 GB takes a minute, which `traitvec status` must not.

    Raises:
        OSError: If the file cannot be read.
    """
    path = path.resolve()
    stat = path.stat()
    stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return _digest(path, stamp)


def gguf_revision(path: Path) -> str:
    """Return what metadata records as the revision of a file: `sha256:` and its digest."""
    return f"{_REVISION}{gguf_digest(path)}"


def gguf_folder(path: Path) -> Path:
    """Return where the conversion of a file is kept, whether it exists or not.

    It follows Hugging Face's cache (`HF_HOME`, else `XDG_CACHE_HOME/huggingface`).
    """
    return _cache() / f"{gguf_digest(path)}-{CONVERTER_VERSION}"


@lru_cache(maxsize=32)
def _digest(path: Path, stamp: tuple[int, ...]) -> str:
    key = hashlib.sha256(repr((str(path), stamp)).encode()).hexdigest()
    kept = _cache() / "hashes" / key
    with suppress(OSError, UnicodeDecodeError):
        digest = kept.read_text()
        if re.fullmatch("[0-9a-f]{64}", digest):
            return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(stamp[1:3]) / 1e9 > _SETTLED_S:
        # Only saves time: a cache that cannot be written is no error here.
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.with_name(f".{key}.{secrets.token_hex(4)}.tmp")
            temporary.write_text(digest)
            os.replace(temporary, kept)
    return digest


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "traitvec" / "gguf"
