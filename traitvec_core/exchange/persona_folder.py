"""Find and read the files of a persona-vectors folder: definitions, judged tables, vectors.

The persona-vectors repository keeps them in `data_generation/trait_data_extract/` and
`trait_data_eval/`, in `eval_persona_extract/{model}/{trait}_{pos,neg}_instruct.csv` and in
`persona_vectors/{model}/{trait}_{position}_diff.pt`; `traits/`, `eval_traits/` and
`{trait}_{pos,neg}.csv` are recognised too.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.storage.files import display_path
from traitvec_core.trait import Pole, TraitDefinition, parse_definition

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PersonaFiles", "find_persona_files", "read_definition", "read_judged"]

_DEFINITIONS = {"traits", "trait_data_extract"}
_EVALUATIONS = {"eval_traits", "trait_data_eval"}
_TABLE = re.compile(r"(?P<trait>.+)_(?P<pole>pos|neg)(_instruct)?\.csv")
_VECTORS = re.compile(r"(?P<trait>.+)_(?P<position>prompt_avg|response_avg|prompt_last)_diff\.pt")
_SCORED_BY = "imported"
_MAX_PROBLEMS = 20


@dataclass
class PersonaFiles:
    """One trait's files.

    Attributes:
        definition: Instructions, questions and rubric.
        evaluation: The same trait with held-out questions.
        tables: Tables of judged responses, by pole.
        vectors: Tensor files, by position.
    """

    definition: Path
    evaluation: Path | None = None
    tables: dict[Pole, Path] = field(default_factory=dict)
    vectors: dict[str, Path] = field(default_factory=dict)


def find_persona_files(source: Path, from_model: str | None = None) -> dict[str, PersonaFiles]:
    """Find the files of all traits that have a definition below a folder, by their names.

    Args:
        source: The folder.
        from_model: Use only tables and vectors in a folder of this name.

    Raises:
        TraitvecError: If the folder or a definition is missing, or two files compete.
    """
    if not source.is_dir():
        raise TraitvecError(f"{display_path(source)} is not a folder")
    paths = sorted(path for path in source.resolve().rglob("*") if path.is_file())
    traits: dict[str, PersonaFiles] = {}
    for path in paths:
        if path.suffix == ".json" and path.parent.name in _DEFINITIONS:
            _refuse_second(traits[path.stem].definition if path.stem in traits else None, path)
            traits[path.stem] = PersonaFiles(path)
    if not traits:
        raise TraitvecError(
            f"{display_path(source)}: found no trait definition, a .json file in a folder"
            f" {' or '.join(sorted(_DEFINITIONS))}; is this a persona-vectors folder?"
        )
    for path in paths:
        if path.suffix == ".json" and path.parent.name in _EVALUATIONS and path.stem in traits:
            _refuse_second(traits[path.stem].evaluation, path)
            traits[path.stem].evaluation = path
        if from_model is not None and path.parent.name != from_model:
            continue
        table, tensor = _TABLE.fullmatch(path.name), _VECTORS.fullmatch(path.name)
        if table and table["trait"] in traits:
            pole: Pole = "pos" if table["pole"] == "pos" else "neg"
            _refuse_second(traits[table["trait"]].tables.get(pole), path)
            traits[table["trait"]].tables[pole] = path
        if tensor and tensor["trait"] in traits:
            _refuse_second(traits[tensor["trait"]].vectors.get(tensor["position"]), path)
            traits[tensor["trait"]].vectors[tensor["position"]] = path
    return traits


def read_definition(files: PersonaFiles) -> tuple[bytes, TraitDefinition]:
    """Return a definition and its bytes, with the evaluation's questions as `eval_questions`.

    Raises:
        DefinitionError: If one of the two files is not valid.
    """
    data = files.definition.read_bytes()
    definition = parse_definition(data, display_path(files.definition))
    if files.evaluation is not None and not definition.eval_questions:
        where = display_path(files.evaluation)
        questions = parse_definition(files.evaluation.read_bytes(), where).questions
        merged = {**json.loads(data.decode("utf-8-sig")), "eval_questions": questions}
        data = (json.dumps(merged, indent=2, ensure_ascii=False) + "\n").encode()
        definition = parse_definition(data, where)
    return data, definition


def read_judged(
    path: Path, trait: str, pole: Pole, definition: TraitDefinition
) -> "tuple[pd.DataFrame, bytes]":
    """Read one pole's judged responses.

    A score that is not a number from 0 to 100 is missing, with the reason. The samples of an
    instruction and question are numbered in the order of the file, which keeps its pairs.

    Args:
        path: The table.
        trait: The trait, which is also its score's column and the start of each `question_id`.
        pole: The table's pole.
        definition: The trait's definition.

    Returns:
        The rows with `JUDGED_COLUMNS`, token counts zero, and the file's bytes.

    Raises:
        DefinitionError: If a column is missing, or rows do not belong to this definition.
    """
    import pandas as pd

    from traitvec_core.judging.judge import JUDGED_COLUMNS

    data = path.read_bytes()
    records = _records(data, path, trait)
    problems: list[str] = []
    rows: list[dict[str, Any]] = []
    n_samples: Counter[str] = Counter()
    pattern = re.compile(rf"{re.escape(trait)}_(\d+)_{pole}_(\d+)(_\d+)?")
    for number, record in enumerate(records, 2):
        match = pattern.fullmatch(record["question_id"] or "")
        if match is None:
            problems.append(f"row {number}: question_id {record['question_id']!r} does not have the"
                            f" form {trait}_QUESTION_{pole}_INSTRUCTION")  # fmt: skip
            continue
        question, instruction = int(match[1]), int(match[2])
        if definition.questions[question : question + 1] != [record["question"]]:
            problems.append(f"row {number}: question {question} differs from the definition's")
            continue
        if instruction >= len(definition.instruction):
            problems.append(f"row {number}: the definition has no instruction {instruction}")
            continue
        cell = f"{trait}_{question}_{pole}_{instruction}"
        rows.append(
            {
                "question": record["question"],
                "instruction": getattr(definition.instruction[instruction], pole),
                "prompt": record["prompt"],
                "response": record["answer"],
                "question_id": f"{cell}_{n_samples[cell]}",
                "prompt_tokens": 0,
                "response_tokens": 0,
                "finish_reason": "",
                "pole": pole,
                "judge_model": _SCORED_BY,
                **_score("trait_score", "judge", record[trait]),
                **_score("coherence_score", "coherence", record["coherence"]),
            }
        )
        n_samples[cell] += 1
    if not problems and not rows:
        problems.append("has no rows")
    if problems:
        n_more = len(problems) - _MAX_PROBLEMS
        shown = problems[:_MAX_PROBLEMS] + ([f"and {n_more} more problems"] if n_more > 0 else [])
        raise DefinitionError(display_path(path), shown)
    return pd.DataFrame(rows, columns=list(JUDGED_COLUMNS)), data


def _records(data: bytes, path: Path, trait: str) -> list[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        records = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DefinitionError(
            display_path(path), [f"is not a CSV file in UTF-8: {error}"]
        ) from None
    columns = ("question", "prompt", "answer", "question_id", trait, "coherence")
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DefinitionError(display_path(path), [f"has no column {name!r}" for name in missing])
    return records


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


def _refuse_second(first: Path | None, second: Path) -> None:
    if first is not None:
        raise TraitvecError(
            f"{display_path(first)} and {display_path(second)} have the same role; choose the"
            " model's folder with --from-model, or import a folder with only one of them"
        )
