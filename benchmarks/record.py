"""Keeps figures: each is printed and on disk as soon as it is measured."""

import json
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Record", "figure", "is_met", "ratio"]

Figure = dict[str, Any]


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Figure:
    """Return a figure; one without a bar is only reported.

    Args:
        name: What was measured; of a ratio, `this / that`.
        value: The value.
        unit: Its unit; `ratio` for a quotient.
        at_most: The bar, if small values are good.
        at_least: The bar, if large values are good.
        note: What a reader has to know beside the name.
    """
    result: Figure = {"figure": name, "value": round(value, 4), "unit": unit, "bar": at_most}
    if at_least is not None:
        result |= {"bar": at_least, "at_least": True}
    return result | ({"note": note} if note else {})


def ratio(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Figure:
    """Return the median of the quotients of paired measurements, with their spread.

    Args:
        name: `this / that`.
        above: Measurements of `this`, one per repeat.
        below: Those of `that`, made in the same repeats.
        at_most: The bar, if small values are good.
        at_least: The bar, if large values are good.
        note: What a reader has to know beside the name.
    """
    quotients = sorted(a / b for a, b in zip(above, below, strict=True))
    result = figure(
        name, statistics.median(quotients), "ratio", at_most=at_most, at_least=at_least, note=note
    )
    return result | {"lowest": round(quotients[0], 4), "highest": round(quotients[-1], 4)}


def is_met(row: Figure) -> bool | None:
    """Whether a figure meets its bar; None without a bar."""
    bar = row["bar"]
    if bar is None:
        return None
    return bool(row["value"] >= bar if row.get("at_least") else row["value"] <= bar)


class Record:
    """The figures of one run.

    Until `finish`, they are in a file with `.unfinished` in its name, which a kill leaves behind;
    the file of the last finished run stays as it is.

    Args:
        path: Where the finished run goes.
        about: What the file says about the run: machine, versions.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
        self.figures: list[Figure] = []
        self._run = {"started": _now(), **about}
        self._write()

    def add(self, rows: Iterable[Figure]) -> None:
        """Print figures and write them."""
        for row in rows:
            self.figures.append(row)
            sys.stdout.write(_line(row) + "\n")
            sys.stdout.flush()
            self._write()

    def finish(self) -> None:
        """Replace the file of the last finished run."""
        self._run = {**self._run, "finished": _now()}
        self._write()
        os.replace(self.unfinished, self.path)

    def _write(self) -> None:
        text = json.dumps({**self._run, "figures": self.figures}, indent=2) + "\n"
        part = self.unfinished.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, self.unfinished)


def _line(row: Figure) -> str:
    spread = f" ({row['lowest']:.2f} to {row['highest']:.2f})" if "lowest" in row else ""
    bar = (
        "" if row["bar"] is None else f"  bar {'≥' if row.get('at_least') else '≤'} {row['bar']:g}"
    )
    note = f": {row['note']}" if "note" in row else ""
    missed = f"  MISSED{note}" if is_met(row) is False else ""
    return f"{row['figure']:<72} {row['value']:>12,.3f} {row['unit']}{spread}{bar}{missed}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
