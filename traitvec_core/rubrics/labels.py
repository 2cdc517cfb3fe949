"""Responses that people have scored: from a trait's `human_scores.csv`, or from any table."""

import math
from dataclasses import dataclass

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.agreement import parse_human_scores
from traitvec_core.storage.files import display_path
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.user_files import MAX_HUMAN_SCORES_BYTES, parse_table

__all__ = ["Label", "labels_of", "parse_labels"]

_TEXT_COLUMNS = ("question", "response", "human_score")
_EXPECTED = (
    "it needs question, response and human_score (0–100), or question_id and trait_score as"
    " `traitvec judgements sheet` writes them"
)


@dataclass(frozen=True)
class Label:
    """A response and people's score of it.

    Attributes:
        question_id: The response's id; `line_<n>` where a table has texts and no ids.
        question: The question.
        response: The response.
        score: People's score, 0–100, or any other scale inside it: only the order counts.
    """

    question_id: str
    question: str
    response: str
    score: float


def labels_of(trait: TraitFolder) -> list[Label]:
    """Return the responses of a trait that its `human_scores.csv` scores.

    Raises:
        TraitvecError: If there is no such table or it is invalid, or the trait has no responses.
    """
    data = trait.human_scores()
    where = display_path(trait.human_scores_path)
    if data is None:
        raise TraitvecError(
            f"{where} does not exist: let people score a sheet (traitvec judgements sheet"
            f" --experiment {trait.experiment} --trait {trait.name} --out scores.csv), or name a"
            " table with --scores"
        )
    return _joined(data, where, trait)


def parse_labels(data: bytes, where: str, trait: TraitFolder) -> list[Label]:
    """Read a table of people's scores.

    Either it has the texts (`question`, `response`, `human_score`), of any responses, or it is a
    sheet of the trait's own responses (`question_id`, `trait_score`). Rows without a score are left
    out; several scores of one response are averaged.

    Args:
        data: The CSV's bytes.
        where: The file's name in messages.
        trait: The trait whose responses a sheet is joined with.

    Raises:
        TraitvecError: If the table is invalid; the message names the place and the fix.
    """
    columns, rows = parse_table(data, where, MAX_HUMAN_SCORES_BYTES)
    if "judge_model" in columns:
        raise TraitvecError(
            f"{where}: these are a judge's scores (column judge_model), not people's; use a sheet"
            " of `traitvec judgements sheet` that people have filled in"
        )
    if "human_score" not in columns and {"question_id", "trait_score"} <= set(columns):
        return _joined(data, where, trait)
    missing = [name for name in _TEXT_COLUMNS if name not in columns]
    if missing:
        is_split = len(columns) == 1 and ";" in columns[0]
        hint = "; its columns are split by semicolons, save it with commas" if is_split else ""
        raise TraitvecError(
            f"{where}: missing column {', '.join(missing)}{hint or f'; {_EXPECTED}'}"
        )
    if "trait_score" in columns:
        raise TraitvecError(
            f"{where} has both human_score and trait_score; remove the one that people did not give"
        )
    scores: dict[tuple[str, str], list[float]] = {}
    first_line: dict[tuple[str, str], int] = {}
    for row in rows:
        place = f"{where}, line {row.line}"
        text = row.cells["human_score"].strip()
        if not text:
            continue
        score = _score(text, place)
        texts = row.cells["question"], row.cells["response"]
        if not all(part.strip() for part in texts):
            raise TraitvecError(f"{place}: a score without question or response; fill it in")
        scores.setdefault(texts, []).append(score)
        first_line.setdefault(texts, row.line)
    return [
        Label(f"line_{first_line[texts]}", *texts, math.fsum(own) / len(own))
        for texts, own in scores.items()
    ]


def _score(text: str, place: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 100:
        raise TraitvecError(f"{place}: {text[:40]!r} is not a score from 0 to 100")
    return score


def _joined(data: bytes, where: str, trait: TraitFolder) -> list[Label]:
    # Judged or not: only the texts are read.
    is_judged = trait.provenance("judged_responses") is not None
    table = trait.read_responses("judged_responses" if is_judged else "responses")
    scores = parse_human_scores(data, where, set(table["question_id"]))
    return [
        Label(name, question, response, scores[name])
        for name, question, response in zip(
            table["question_id"], table["question"], table["response"], strict=True
        )
        if name in scores
    ]
