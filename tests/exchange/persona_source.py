"""A persona-vectors folder with real rows, and what an import of it printed and wrote."""

import csv
import re
import shutil
from pathlib import Path

import torch

from tests.exchange.conftest import SHARED
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

IMPORT = ("import-persona-vectors",)
INTO = ("--experiment", "theirs", "--model", "embedded")


def shortened(folder: Path, per_cell: int = 1) -> Path:
    """A folder as persona vectors' own code leaves it: real rows, few and cut to their start."""
    extract, evaluate = (
        folder / "data_generation" / name for name in ("trait_data_extract", "trait_data_eval")
    )
    shutil.copytree(SHARED / "traits", extract)
    shutil.copytree(SHARED / "eval_traits", evaluate)
    tables = folder / "eval_persona_extract" / "Qwen2.5-7B-Instruct"
    tables.mkdir(parents=True)
    for pole in ("pos", "neg"):
        with (SHARED / "judged" / f"sycophantic_{pole}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        seen: dict[str, int] = {}
        kept = []
        for row in rows:
            # Two of the five instructions, so that the model has little to read.
            if row["question_id"].endswith(("_0", "_1")) and seen.get(row["question_id"], 0) < (
                per_cell
            ):
                seen[row["question_id"]] = seen.get(row["question_id"], 0) + 1
                kept.append({**row, "answer": row["answer"][:300]})
        write_table(tables / f"sycophantic_{pole}_instruct.csv", kept)
    vectors = folder / "persona_vectors" / "Qwen2.5-7B-Instruct"
    vectors.mkdir(parents=True)
    torch.manual_seed(0)
    for position in ("response_avg", "prompt_avg", "prompt_last"):
        # The embedded model's shape.
        torch.save(torch.randn(6, 192), vectors / f"sycophantic_{position}_diff.pt")
    return folder


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def the_table(folder: Path, pole: str = "pos") -> Path:
    (path,) = folder.rglob(f"sycophantic_{pole}_instruct.csv")
    return path


def imported(root: Path, trait: str = "sycophantic") -> TraitFolder:
    return ExperimentFolder(root, "theirs").trait(trait)


def row_of(printed: str, trait: str) -> list[str]:
    """A trait's row of the printed table, by cell."""
    (row,) = [
        cells
        for line in printed.splitlines()
        if len(cells := re.split(r"\s{2,}", line.strip())) > 1 and cells[0] == trait
    ]
    return row
