"""CSV tables that people write or bring."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from traitvec_core.errors import DefinitionError
from traitvec_core.user_files.text import parse_text

__all__ = ["Row", "parse_table"]

_LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: The line in which it ends, counted from 1.
        cells: Its texts by column, unchanged; empty where a row ends early.
    """

    line: int
    cells: dict[str, str]


def parse_table(data: bytes, where: str, most_bytes: int) -> tuple[tuple[str, ...], list[Row]]:
    """Read a CSV table with a header; text is kept unchanged, and blank lines are skipped.

    Args:
        data: The file's bytes: UTF-8, with or without a byte-order mark.
        where: The file, as messages name it.
        most_bytes: The largest size.

    Returns:
        The names of the columns, and the rows.

    Raises:
        DefinitionError: If it is too long or not UTF-8, a quotation mark is left open, a column is
            there twice, or a row has more cells than the header.
    """
    # The limit is global, and a response may be long.
    csv.field_size_limit(_LONGEST_FIELD)
    text = parse_text(data, where, most_bytes)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    names: tuple[str, ...] = ()
    try:
        for cells in reader:
            if not cells:
                continue
            if not names:
                names = tuple(cells)
                _check_header(names, where)
            elif any(cells[len(names) :]):
                raise DefinitionError(
                    where,
                    [
                        f"line {reader.line_num} has {len(cells)} cells, but the header has"
                        f" {len(names)}; put a text with a comma into quotes"
                    ],
                )
            else:
                padded = [*cells, *("" for _ in names[len(cells) :])]
                rows.append(Row(reader.line_num, dict(zip(names, padded, strict=False))))
    except csv.Error as error:
        raise DefinitionError(
            where, [f"is not a CSV table: {error}, in line {reader.line_num}"]
        ) from None
    return names, rows


def _check_header(names: Sequence[str], where: str) -> None:
    for name, count in Counter(names).items():
        # Spreadsheets write empty columns.
        if name and count > 1:
            raise DefinitionError(where, [f"has the column {name[:40]!r} twice; remove one"])
