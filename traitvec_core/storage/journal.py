"""Finished rows of an unfinished stage."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


class Journal:
    """Finished work of an unfinished stage: one JSON object a line, appended as it is done.

    A line cut short by a crash is dropped when read; everything before it counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """Return every whole row."""
        return list(self._whole_rows())

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Add rows that are finished; they survive the death of this process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_with_newline():
                file.write(b"\n")
            file.write(text)

    def remove(self) -> None:
        """Delete the journal once its stage is committed, and those of earlier settings with it."""
        prefix = self.path.name.rsplit("-", 1)[0]
        for path in self.path.parent.glob(f"{prefix}-*.jsonl"):
            path.unlink(missing_ok=True)

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _whole_rows(self) -> Iterator[dict[str, Any]]:
        if not self.path.is_file():
            return
        for line in self.path.read_bytes().splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row
