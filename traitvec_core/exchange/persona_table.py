"""Read a persona-vectors table of judged responses."""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import DefinitionError
from traitvec_core.storage.files import display_path
from traitvec_core.trait import Pole, TraitDefinition
from traitvec_core.user_files import MAX_JUDGED_TABLE_BYTES, Row, parse_table, read_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["JudgedTable", "read_judged"]

_SCORED_BY = "imported"


@dataclass(frozen=True)
class JudgedTable:
    """One pole's judged responses.

    Attributes:
        rows: With `JUDGED_COLUMNS` and `thinking`; token counts are zero.
        data: The file's bytes.
        n_unfinished: Rows left out because they have no answer after the thinking.
        n_leaked: Rows left out because marks of thinking stand inside the answer.
    """

    rows: "pd.DataFrame"
    data: bytes
    n_unfinished: int
    n_leaked: int


def read_judged(path: Path, trait: str, pole: Pole, definition: TraitDefinition) -> JudgedTable:
    """Read one pole's judged responses.

    A score that is not a number from 0 to 100 is missing, with the reason. The samples of an
    instruction and question are numbered in the order of the file, which keeps its pairs. Thinking
    before an answer is split off as for our own responses; a row without an answer after it, or
    with marks of thinking inside, is left out.

    Args:
        path: The table.
        trait: The trait, which is also its score's column and the start of each `question_id`;
            the file may write it with capitals.
        pole: The table's pole.
        definition: The trait's definition.

    Raises:
        DefinitionError: If a column is missing, no row is left, or rows do not belong to this
            definition.
    """
    import pandas as pd

    from traitvec_core.generation import split_thinking
    from traitvec_core.judging.judge import JUDGED_COLUMNS
    from traitvec_core.validation.response_counts import has_leaked_thinking

    data = read_file(path, display_path(path), MAX_JUDGED_TABLE_BYTES)
    records = _records(data, path, trait)
    problems: list[str] = []
    rows: list[dict[str, Any]] = []
    n_samples: Counter[str] = Counter()
    n_unfinished = n_leaked = 0
    pattern = re.compile(rf"{re.escape(trait)}_(\d+)_{pole}_(\d+)(_\d+)?", re.IGNORECASE)
    for number, row in enumerate(records, 2):
        record = row.cells
        match = pattern.fullmatch(record["question_id"])
        if match is None:
            problems.append(f"row {number}: question_id {record['question_id']!r} does not have"
                            f" the form {trait}_QUESTION_{pole}_INSTRUCTION")  # fmt: skip
            continue
        question, instruction = int(match[1]), int(match[2])
        if definition.questions[question : question + 1] != [record["question"]]:
            problems.append(f"row {number}: question {question} differs from the definition's")
            continue
        if instruction >= len(definition.instruction):
            problems.append(f"row {number}: the definition has no instruction {instruction}")
            continue
        cell = f"{trait}_{question}_{pole}_{instruction}"
        # A row that is left out keeps its number, so that the others keep their partners.
        sample = n_samples[cell]
        n_samples[cell] += 1
        thinking, response = split_thinking(record["answer"], record["prompt"])
        if thinking and not response:
            n_unfinished += 1
            continue
        if has_leaked_thinking(response):
            n_leaked += 1
            continue
        rows.append(
            {
                "question": record["question"],
                "instruction": getattr(definition.instruction[instruction], pole),
                "prompt": record["prompt"],
                "response": response,
                "question_id": f"{cell}_{sample}",
                "prompt_tokens": 0,
                "response_tokens": 0,
                "finish_reason": "",
                "pole": pole,
                "judge_model": _SCORED_BY,
                **_score("trait_score", "judge", record[trait]),
                **_score("coherence_score", "coherence", record["coherence"]),
                "thinking": thinking,
            }
        )
    if not problems and not rows:
        problems.append("has no rows" if not n_samples else "no row has an answer after thinking")
    if problems:
        raise DefinitionError(display_path(path), problems)
    table = pd.DataFrame(rows, columns=[*JUDGED_COLUMNS, "thinking"])
    return JudgedTable(table, data, n_unfinished, n_leaked)


def _records(data: bytes, path: Path, trait: str) -> list[Row]:
    """Return the rows with the columns that are used; the score's is named after the trait."""
    names, rows = parse_table(data, display_path(path), MAX_JUDGED_TABLE_BYTES)
    score = next((name for name in names if name.lower() == trait), trait)
    columns = ("question", "prompt", "answer", "question_id", score, "coherence")
    missing = [name for name in columns if name not in names]
    if missing:
        raise DefinitionError(display_path(path), [f"has no column {name!r}" for name in missing])
    return [replace(row, cells=row.cells | {trait: row.cells[score]}) for row in rows]


def _score(column: str, prefix: str, text: str | None) -> dict[str, Any]:
    try:
        score = float(text or "nan")
    except ValueError:
        score = math.nan
    if 0 <= score <= 100:
        return {column: score, f"{prefix}_status": "ok", f"{prefix}_reason": ""}
    shown = " ".join((text or "").split())[:40]
    reason = f"imported without a score{f' ({shown})' if shown else ''}"
    return {column: math.nan, f"{prefix}_status": "unparseable", f"{prefix}_reason": reason}
