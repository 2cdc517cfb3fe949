"""Names of files, and atomic writes: no reader ever sees half a file."""

import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.processes import is_alive
from traitvec_core.trait import check_name
from traitvec_core.visible_text import visible

__all__ = [
    "ACTIVATIONS_FILE",
    "DEFINITION_FILE",
    "EARLIER_DEFINITION",
    "GENERATED_IDS_FILE",
    "HUMAN_SCORES_FILE",
    "OPPOSITE_FILE",
    "RESTYLED_FILE",
    "SETTINGS_FILE",
    "display_path",
    "is_usable",
    "list_experiments",
    "write_atomically",
    "written_aside",
]

SETTINGS_FILE = "experiment.yaml"
DEFINITION_FILE = "trait_definition.json"
EARLIER_DEFINITION = re.compile(r"trait_definition\.([0-9]{1,9})\.json")
"""What `traitvec try --revise` leaves beside the definition: each earlier one under its number."""
HUMAN_SCORES_FILE = "human_scores.csv"
GENERATED_IDS_FILE = "responses/token_ids.json"
ACTIVATIONS_FILE = "activations/all_layers.pt"
OPPOSITE_FILE = "activations/opposite_instruction.pt"
RESTYLED_FILE = "activations/restyled_{style}.pt"


# No single write takes longer.
_LEFTOVER_AGE_S = 3600
_WRITER = re.compile(r"\.(\d+)-[0-9a-f]+\.tmp$")


def list_experiments(root: Path | str) -> list[str]:
    """Return the names of the experiments under `root`, sorted: folders with valid names."""
    if not Path(root).is_dir():
        return []
    return sorted(p.name for p in Path(root).iterdir() if p.is_dir() and is_usable(p.name))


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary file beside `path`, then rename it.

    There is no fsync: a power cut can truncate a file, which its recorded hash then reveals.
    """
    with written_aside({path: data}) as aside:
        aside[path].replace(path)


@contextmanager
def written_aside(files: Mapping[Path, bytes]) -> Iterator[dict[Path, Path]]:
    """Write files to temporary names beside them, for the block to rename.

    Nothing that is there is touched before everything new is on the disk. Temporary files that the
    block does not rename are removed.

    Args:
        files: Content by path.

    Returns:
        Path → temporary file.
    """
    aside: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            name = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
            aside[path] = path.with_name(name)
            aside[path].write_bytes(data)
        yield aside
    finally:
        for temporary in aside.values():
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writers.

    Those of live writers are younger; if the clock was set, the writer's number in the name tells.
    """
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            writer = _WRITER.search(path.name)
            is_old = time.time() - path.stat().st_mtime > _LEFTOVER_AGE_S
            if is_old and not (writer and is_alive(int(writer[1]), None)):
                path.unlink()


def display_path(path: Path) -> str:
    """Return a path to show: relative if it is below the working directory, in visible text."""
    return _displayed(path, Path.cwd())


def is_usable(name: str) -> bool:
    """Whether this is a valid name for an experiment or a trait."""
    try:
        check_name("name", name)
    except TraitvecError:
        return False
    return True


# The sensor names the files of every trait at every tick, and to resolve a path is slow.
@lru_cache(maxsize=10_000)
def _displayed(path: Path, working_directory: Path) -> str:
    with suppress(ValueError):
        return visible(str(path.resolve().relative_to(working_directory)))
    return visible(str(path))
