"""A sheet of responses for people to score, which is safe to open in a spreadsheet."""

import csv
import io

import pandas as pd

from traitvec_core.judging.agreement import agreement_sample
from traitvec_core.visible_text import visible

__all__ = ["score_sheet"]

# A spreadsheet takes a cell that begins so for a formula, and a formula can run a program
# (OWASP, CSV injection).
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def score_sheet(judged: pd.DataFrame, size: int) -> bytes:
    """Return a CSV sheet with an empty `trait_score` for each of a few responses.

    Its texts are for reading: one that a spreadsheet would take for a formula begins with an
    apostrophe, and control characters are escapes. Only `question_id` and `trait_score` are read
    back. The tables under `responses/` keep every text as it was written.

    Args:
        judged: Judged responses.
        size: Number of responses, half of each pole.
    """
    # Shuffled, so that nobody scores one pole after the other.
    rows = agreement_sample(judged, size).sample(frac=1, random_state=0)
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("question_id", "question", "response", "trait_score"))
    for name, *texts in rows[["question_id", "question", "response"]].astype(str).to_numpy():
        writer.writerow((name, *map(_cell, texts), ""))
    return text.getvalue().encode("utf-8-sig")


def _cell(text: str) -> str:
    shown = visible(text, keep_lines=True)
    return f"'{shown}" if shown.lstrip(" ").startswith(_FORMULA_MARKS) else shown
