"""The finished rows of an unfinished stage."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


class Journal:
    """The finished rows of an unfinished stage: one JSON object per line, appended one by one.

    Reading drops a line that a crash has cut short; all lines before it are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """Return all complete rows."""
        return list(self._complete_rows())

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Append finished rows; they survive if this process is killed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_with_newline():
                file.write(b"\n")
            file.write(text)

    def remove(self) -> None:
        """Delete this journal, and those of the stage's earlier settings; called after a commit."""
        prefix = self.path.name.rsplit("-", 1)[0]
        for path in self.path.parent.glob(f"{prefix}-*.jsonl"):
            path.unlink(missing_ok=True)

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _complete_rows(self) -> Iterator[dict[str, Any]]:
        if not self.path.is_file():
            return
        for line in self.path.read_bytes().splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row
