"""Writes the figures of `make bench` that documentation quotes into its pages."""

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.record import Figure

__all__ = ["QUOTED", "update_page"]

# In `docs/comparison.md`, with as many digits.
QUOTED = {
    "one text at a time, all hidden states / capture": 2,
    "batches of 32 as given, all hidden states / capture": 2,
    "200 responses: generate, 8 at a time in given order / ours": 2,
    "SmolLM2: generate / ours, 8 rows against 8": 2,
    "SmolLM2: generate / ours, 32 rows against 32": 2,
    "SmolLM2: vectors by repeng / ours": 2,
    "SmolLM2: vectors by steering-vectors / ours": 2,
    "SmolLM2: vectors by persona-vectors' way / ours": 2,
    "SmolLM2: judging / one forward pass over each prompt": 2,
    "steering: one condition at a time / side by side, CPU time": 2,
    "scikit-learn and torch loops / extraction of 4 methods on [200, 27, 2304]": 1,
    "run through Dagster / same stages called directly": 2,
}
_HEADER = "| figure | value |\n| --- | --- |\n"
_TABLE = re.compile(re.escape(_HEADER) + r"(?:\|.*\n)+")


def update_page(page: Path, figures: Iterable[Figure]) -> None:
    """Replace the rows of a page's table headed `figure` and `value`.

    Raises:
        KeyError: If a figure was not measured.
    """
    values = {row["figure"]: row["value"] for row in figures}
    rows = [f"| {name} | {values[name]:.{digits}f} |\n" for name, digits in QUOTED.items()]
    text = page.read_text(encoding="utf-8")
    page.write_text(_TABLE.sub(lambda _: _HEADER + "".join(rows), text), encoding="utf-8")
