"""What the `dagster.yaml` of a project may hold: limits and switches, but no code.

Dagster imports any class that its `dagster.yaml` names, when a process opens the instance. A
project from elsewhere can bring `.dagster/dagster.yaml`.
"""

from pathlib import Path

import yaml

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path

__all__ = ["SECTIONS_WITHOUT_CODE", "check_instance_file"]

SECTIONS_WITHOUT_CODE = frozenset({
    "auto_materialize", "backfills", "code_servers", "concurrency", "freshness", "nux", "retention",
    "run_monitoring", "run_queue", "run_retries", "schedules", "sensors", "telemetry",
})  # fmt: skip
"""Top-level keys of `dagster.yaml` that name no class, module, path or address."""


def check_instance_file(file: Path) -> None:
    """Check the `dagster.yaml` inside a project. That of the owner's `DAGSTER_HOME` is theirs.

    Raises:
        TraitvecError: If it has a section that can load code or open a connection, or is not valid.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
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
