"""What the `.dagster/` of a project may hold: plain files, and a `dagster.yaml` without code.

Dagster imports any class that its `dagster.yaml` names, when a process opens the instance, and
writes its databases through links. A project from elsewhere can bring both.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.storage.files import display_path
from traitvec_core.storage.tree import check_in_place
from traitvec_core.user_files import MAX_SETTINGS_BYTES, parse_text, read_file
from traitvec_core.visible_text import visible

__all__ = ["SECTIONS_WITHOUT_CODE", "check_instance_file", "check_instance_folder"]

SECTIONS_WITHOUT_CODE = frozenset({
    "auto_materialize", "backfills", "code_servers", "concurrency", "freshness", "nux", "retention",
    "run_monitoring", "run_queue", "run_retries", "schedules", "sensors", "telemetry",
})  # fmt: skip
"""Top-level keys of `dagster.yaml` that name no class, module, path or address."""


# Where Dagster opens files by names that are known before a run.
_FOLDERS = ("", "history", "history/runs", "schedules")


def check_instance_folder(home: Path) -> None:
    """Check that Dagster would write into the project's `.dagster` and nowhere else.

    Raises:
        TraitvecError: If it is a link, or contains links, hard links or pipes where databases go.
    """
    for path in (home, *_entries(home)):
        try:
            check_in_place(path)
        except TraitvecError as error:
            raise TraitvecError(
                f"{error}; if you made it, `export DAGSTER_HOME={visible(str(home))}`"
            ) from None


def _entries(home: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        # A link was reported with the folder that contains it.
        if (home / folder).is_dir():
            yield from (home / folder).iterdir()


def check_instance_file(file: Path) -> None:
    """Check the `dagster.yaml` inside a project. That of the owner's `DAGSTER_HOME` is theirs.

    Raises:
        TraitvecError: If it has a section that can load code or open a connection, or is not valid.
    """
    where = display_path(file)
    try:
        data = read_file(file, where, MAX_SETTINGS_BYTES)
        raw = yaml.safe_load(parse_text(data, where, MAX_SETTINGS_BYTES))
    except FileNotFoundError:
        return
    except (DefinitionError, OSError, ValueError, RecursionError, yaml.YAMLError):
        raise TraitvecError(
            f"{display_path(file)}: cannot be read as YAML; fix it, or delete it to get the default"
        ) from None
    if raw is not None and not isinstance(raw, dict):
        raise TraitvecError(
            f"{display_path(file)}: must be a YAML mapping; delete it to start anew"
        )
    others = sorted(str(key) for key in raw or {} if key not in SECTIONS_WITHOUT_CODE)
    if others:
        shown = "".join(letter if letter.isprintable() else "?" for letter in others[0])[:40]
        raise TraitvecError(
            f"{display_path(file)}: {shown} can load code, and a project can bring this file; if"
            f" you wrote it, `export DAGSTER_HOME={file.parent}`"
        )
