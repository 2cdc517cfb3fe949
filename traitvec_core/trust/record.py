"""What the owner has allowed: a file in the user's configuration folder, or a variable.

Neither lies in the project, so a project from elsewhere cannot bring its own trust.
"""

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import write_atomically
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trust.grants import Grant

__all__ = [
    "TRUST_VARIABLE",
    "allow",
    "is_allowed",
    "revoke",
    "trust_file",
    "trust_for_other_machines",
]

TRUST_VARIABLE = "TRAITVEC_TRUST"
"""Fingerprints with commas, or `all`, for machines without the user's configuration folder."""

_ALL = "all"


class _Record(BaseModel):
    """Absolute path of an experiment → fingerprints of what it may do."""

    model_config = ConfigDict(extra="forbid")

    experiments: dict[str, list[str]] = Field(default_factory=dict)


def trust_file() -> Path:
    """Return the file that keeps what the user has allowed.

    `$XDG_CONFIG_HOME/traitvec/trusted.json`, by default in `~/.config`.

    Raises:
        RuntimeError: If this user has no home.
    """
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    # The standard ignores relative paths, which would be below any folder one works in.
    base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".config"
    if not base.is_absolute():
        raise RuntimeError("HOME is a relative path")
    return base / "traitvec" / "trusted.json"


def is_allowed(folder: ExperimentFolder, grant: Grant) -> bool:
    """Whether the owner has allowed a grant to an experiment.

    Raises:
        TraitvecError: If the file of trust cannot be read.
    """
    in_variable = _in_variable()
    if _ALL in in_variable or grant.fingerprint in in_variable:
        return True
    return grant.fingerprint in _read().experiments.get(_place(folder), ())


def allow(folder: ExperimentFolder, grants: Collection[Grant]) -> None:
    """Record that an experiment may do this, and nothing else that it could do before.

    Raises:
        TraitvecError: If the file of trust cannot be read.
    """
    record = _read()
    allowed = sorted(grant.fingerprint for grant in grants)
    if allowed:
        record.experiments[_place(folder)] = allowed
    elif record.experiments.pop(_place(folder), None) is None:
        return
    _write(record)


def revoke(folder: ExperimentFolder) -> bool:
    """Forget what an experiment may do. Returns whether anything was allowed.

    Raises:
        TraitvecError: If the file of trust cannot be read.
    """
    was_allowed = _place(folder) in _read().experiments
    allow(folder, ())
    return was_allowed


def trust_for_other_machines(folders: Iterable[ExperimentFolder]) -> str:
    """Return the value of `TRAITVEC_TRUST` for steps of these experiments on other machines.

    The decision is made here. A step's machine sees only the files, which are not to be asked.
    """
    in_variable = _in_variable()
    if _ALL in in_variable:
        return _ALL
    record = _read()
    allowed = {one for folder in folders for one in record.experiments.get(_place(folder), ())}
    return ",".join(sorted({*in_variable, *allowed}))


def _in_variable() -> set[str]:
    return {part.strip() for part in os.environ.get(TRUST_VARIABLE, "").split(",") if part.strip()}


def _place(folder: ExperimentFolder) -> str:
    return str(folder.path.resolve())


def _read() -> _Record:
    try:
        file = trust_file()
        return _Record.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, RuntimeError):
        # RuntimeError: this user has no home.
        return _Record()
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not written by traitvec"
        raise TraitvecError(
            f"{file}: cannot be read ({reason}); delete it, then `traitvec trust` what you need"
        ) from None


def _write(record: _Record) -> None:
    try:
        file = trust_file()
    except RuntimeError:
        raise TraitvecError(
            f"this user has no home folder to record trust in; set {TRUST_VARIABLE} to what"
            " `traitvec trust --show` prints"
        ) from None
    try:
        write_atomically(file, json.dumps(record.model_dump(), indent=2, sort_keys=True).encode())
    except OSError as error:
        raise TraitvecError(
            f"{file}: cannot be written ({error.strerror}); set {TRUST_VARIABLE} to what `traitvec"
            " trust --show` prints, or XDG_CONFIG_HOME to a folder of yours"
        ) from None
