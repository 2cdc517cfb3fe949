"""The project's `.env`: keys and passwords, and nothing that chooses a program or an address.

A project from elsewhere can bring this file, so what it may set is a short list.
"""

import io
import os
import stat
from pathlib import Path

from traitvec_core.errors import DefinitionError
from traitvec_core.storage.files import display_path
from traitvec_core.user_files import parse_text, read_file

__all__ = ["SECRETS", "read_env_file"]

SECRETS = (
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "JUDGE_API_KEY",
    "GENERATION_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DAGSTER_PG_PASSWORD",
)
"""All that `.env` may set. The docs list the same."""

_MOST_BYTES = 64_000
_MOST_NAMED = 5
_LONGEST_NAME = 40


def read_env_file(file: Path) -> list[str]:
    """Set the secrets of a `.env` in the environment, unless they are set there already.

    Returns:
        What the user should know, one line each: a file that cannot be used, variables that are
        ignored, and a file that other users can read.
    """
    from dotenv import dotenv_values

    if not file.is_file():
        return []
    where = display_path(file)
    try:
        text = parse_text(read_file(file, where, _MOST_BYTES), where, _MOST_BYTES)
    except DefinitionError as error:
        return [f"{error}; nothing is read from it"]
    except OSError as error:
        return [f"{where}: cannot be read ({error.strerror}); nothing is read from it"]
    # Without interpolation: a foreign file could copy one key into the variable of another, which
    # is sent to another host.
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    for name in SECRETS:
        value = values.get(name)
        if value is not None:
            os.environ.setdefault(name, value)
    notes = []
    # A variable that the environment sets alike needs no line.
    ignored = [name for name, value in values.items() if _is_ignored(name, value)]
    if ignored:
        shown = ", ".join(_shown(name) for name in ignored[:_MOST_NAMED])
        more = f" and {len(ignored) - _MOST_NAMED} more" if len(ignored) > _MOST_NAMED else ""
        notes.append(
            f"{display_path(file)}: {shown}{more} ignored, because this file sets only keys and"
            " passwords; if it is yours, `export` it in the shell"
        )
    if _is_open(file):
        notes.append(
            f"{display_path(file)}: other users of this machine can read your keys; run `chmod 600"
            f" {display_path(file)}`"
        )
    return notes


def _is_ignored(name: str, value: str | None) -> bool:
    return name not in SECRETS and bool(value) and os.environ.get(name) != value


def _is_open(file: Path) -> bool:
    """Whether other users may read a file; folders above it that keep them out do not count."""
    return os.name == "posix" and bool(stat.S_IMODE(file.stat().st_mode) & 0o077)


def _shown(name: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text[:_LONGEST_NAME]
