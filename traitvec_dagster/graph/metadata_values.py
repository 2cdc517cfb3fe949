"""Metadata values for Dagster: rounded numbers, tables, small pictures. Missing stays missing."""

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.storage.markdown import escape_markdown
from traitvec_core.storage.vector_verdict import VERDICT_NAMES
from traitvec_core.validation.finding import Finding
from traitvec_core.visible_text import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Metadata", "cell", "clip", "facts", "findings_table", "in_project", "judged", "known",
    "numbers", "picture", "rounded", "sample", "shown", "table",
]  # fmt: skip

# A picture goes into the event log with every materialization.
_MAX_PICTURE_BYTES = 50_000
_MAX_SHOWN_CHARS = 300
_MAX_FINDINGS = 50

Metadata = dict[str, Any]


def in_project(experiment: Path, *names: str) -> Any:
    """Return a path as it is in the project: it still leads there where the project was moved to.

    Args:
        experiment: The experiment's folder.
        names: What follows it.
    """
    return dg.MetadataValue.path("/".join((experiment.parent.name, experiment.name, *names)))


def known(**usd: float | None) -> Metadata:
    """Dollars that are known: an unknown price leaves a gap in the plot; it is not free."""
    return {name: round(value, 6) for name, value in usd.items() if value is not None}


def facts(**values: float) -> Metadata:
    """Numbers that nobody compares between traits, as text: Dagster plots every number there is."""
    return {name: f"{value:g}" for name, value in values.items()}


def numbers(**values: float | None) -> Metadata:
    """Floats that exist: a missing figure leaves a gap in the plot, not a zero."""
    return {name: round(float(value), 4) for name, value in values.items() if value is not None}


def judged(verdict: VectorVerdict | None, reasons: Sequence[str]) -> Metadata:
    """A vector's verdict as text, and its reasons as an escaped list."""
    lines = [f"- {escape_markdown(reason)}" for reason in reasons]
    return {
        "verdict": VERDICT_NAMES[verdict],
        "reasons": dg.MetadataValue.md("\n".join(lines) or "none"),
    }


def findings_table(findings: Sequence[Finding]) -> Any:
    """Return the linter's findings as an escaped table; Dagster keeps a check's history small."""
    rows = [
        " | ".join(map(escape_markdown, (f.severity, f.place, f.rule, f.reason, f.fix)))
        for f in findings[:_MAX_FINDINGS]
    ]
    more = len(findings) - len(rows)
    lines = ["severity | place | rule | reason | fix", "--- | --- | --- | --- | ---", *rows]
    table_text = "\n".join(f"| {line} |" for line in lines)
    rest = f"\n\nand {more} more: `traitvec check --all`" if more else ""
    return dg.MetadataValue.md(table_text + rest)


def picture(png: bytes, title: str) -> Any:
    """Return a PNG as inline markdown, or a sentence if it is too large for the event log."""
    if len(png) > _MAX_PICTURE_BYTES:
        return dg.MetadataValue.text(f"{title}: picture too large to show here; see the report")
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{data})")


def sample(frame: "pd.DataFrame", columns: list[str], per_pole: int = 3) -> Any:
    """Return a table of a few responses of each pole, evenly spaced over the rows."""
    rows = []
    for pole in ("pos", "neg"):
        of_pole = frame[frame["pole"] == pole]
        step = max(1, len(of_pole) // per_pole)
        for row in of_pole.iloc[::step].head(per_pole)[columns].to_dict("records"):
            rows.append({str(name): cell(value) for name, value in row.items()})
    return table(rows)


def shown(metadata: Metadata) -> Metadata:
    """Return metadata, or a row of a table, with its plain texts as visible text."""
    return {
        name: visible(value, keep_lines=True) if isinstance(value, str) else value
        for name, value in metadata.items()
    }


def table(rows: list[dict[str, Any]]) -> Any:
    """Return rows as a table; all have the keys of the first."""
    if not rows:
        return dg.MetadataValue.text("(none)")
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(name, "float" if isinstance(rows[0][name], float) else "string")
            for name in rows[0]
        ]
    )
    return dg.MetadataValue.table([dg.TableRecord(shown(row)) for row in rows], schema=schema)


def cell(value: Any) -> Any:
    """Return a value for a table: texts clipped, numbers rounded."""
    return clip(value) if isinstance(value, str) else rounded(value)


def clip(text: str) -> str:
    """Model text on one line, not endless.

    It only ever goes into tables, whose cells Dagster shows as plain text; never into markdown.
    """
    flat = visible(" ".join(text.split()))
    return flat if len(flat) <= _MAX_SHOWN_CHARS else f"{flat[:_MAX_SHOWN_CHARS]}…"


def rounded(value: Any) -> Any:
    """Return floats with four decimals, NaN as None, and anything else unchanged."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
