"""The sheet for people: safe to open in a spreadsheet, and read back whatever is in its texts."""

import csv
import io
import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.judging.agreement import parse_human_scores
from traitvec_core.judging.score_sheet import score_sheet
from traitvec_core.storage.formats import dump_csv, parse_csv

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "\x1b[2J", 'a,"b"\n']
)


def _judged(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question_id": f"kind_{number}_{pole}_0_0", "question": text, "response": text,
            "trait_score": 50.0, "pole": pole,
        }
        for number, text in enumerate(texts)
        for pole in ("pos", "neg")
    )  # fmt: skip


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_no_cell_of_a_sheet_is_a_formula_and_the_scores_come_back(texts: list[str]) -> None:
    judged = _judged(texts)
    sheet = score_sheet(judged, 100).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(sheet, newline="")))
    assert rows[0] == ["question_id", "question", "response", "trait_score"]
    assert {row[0] for row in rows[1:]} == set(judged["question_id"])
    for row in rows[1:]:
        for cell in row:
            assert not re.match(r"\s*[=+\-@]", cell)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", cell)
    # As somebody's spreadsheet saves it.
    filled = io.StringIO(newline="")
    csv.writer(filled).writerows([rows[0], *([*row[:3], "70"] for row in rows[1:])])
    scores = parse_human_scores(filled.getvalue().encode(), "x", set(judged["question_id"]))
    assert scores == dict.fromkeys(judged["question_id"], 70.0)


@given(st.lists(TEXTS.filter(lambda text: text.isprintable() or text.isascii()), max_size=5))
def test_the_tables_of_responses_keep_every_text(texts: list[str]) -> None:
    frame = pd.DataFrame({"response": texts}, dtype=object)
    assert list(parse_csv(dump_csv(frame))["response"]) == texts
