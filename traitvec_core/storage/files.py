"""Names of files, and how a file is written so that no reader sees half of it."""

import secrets
import time
from contextlib import suppress
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.trait import check_name

__all__ = [
    "DEFINITION_FILE",
    "HUMAN_SCORES_FILE",
    "SETTINGS_FILE",
    "display_path",
    "is_usable",
    "list_experiments",
    "write_atomically",
]

SETTINGS_FILE = "experiment.yaml"
DEFINITION_FILE = "trait_definition.json"
HUMAN_SCORES_FILE = "human_scores.csv"


# No single write takes this long.
_LEFTOVER_AGE_S = 3600


def list_experiments(root: Path | str) -> list[str]:
    """Names of the experiments under `root`, sorted: folders with usable names."""
    if not Path(root).is_dir():
        return []
    return sorted(p.name for p in Path(root).iterdir() if p.is_dir() and is_usable(p.name))


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside `path`, then rename.

    No fsync: after a power cut a file may be short, and its recorded hash then gives it away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left; the file of one that lives is younger."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_AGE_S:
                path.unlink()


def display_path(path: Path) -> str:
    """Name a path as the user would: relative to where they are, if it lies below."""
    with suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def is_usable(name: str) -> bool:
    """Whether an experiment or a trait may have this name."""
    try:
        check_name("name", name)
    except TraitvecError:
        return False
    return True
