"""The finished rows of an unfinished stage."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from traitvec_core.storage.tree import (
    open_in_place,
    path_to_write,
    read_inside,
    remove_inside,
)

__all__ = ["Journal"]


class Journal:
    """The finished rows of an unfinished stage: one JSON object per line, appended one by one.

    Reading drops a line that a crash has cut short; all lines before it are kept.

    Args:
        home: The experiment's folder, out of which no link may lead.
        name: Path of the file below it.
    """

    def __init__(self, home: Path, name: str) -> None:
        self._home = home
        self._name = name
        self.path = home / name

    def rows(self) -> list[dict[str, Any]]:
        """Return all complete rows."""
        return list(self._complete_rows())

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Append finished rows; they survive if this process is killed."""
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with open_in_place(self._home, self._name) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(text)

    def remove(self) -> None:
        """Delete this journal, and those of the stage's earlier settings; called after a commit."""
        folder = path_to_write(self._home, self._name).parent
        prefix = self.path.name.rsplit("-", 1)[0]
        for path in folder.glob(f"{prefix}-*.jsonl"):
            remove_inside(self._home, str(path.relative_to(self._home)))

    def _complete_rows(self) -> Iterator[dict[str, Any]]:
        if not self.path.is_file():
            return
        for line in read_inside(self._home, self._name).splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row
