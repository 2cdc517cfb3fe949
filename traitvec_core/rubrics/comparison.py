"""The result of comparing two rubrics, or two judges, with people."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from traitvec_core.estimate import Estimate
from traitvec_core.rubrics.difference import Figures, compare_scores
from traitvec_core.rubrics.labels import Label

__all__ = [
    "MIN_LABELS",
    "AnchorRow",
    "ContenderResult",
    "Disagreement",
    "RubricComparison",
    "compare_with_people",
]

# With fewer, no interval of a rank correlation says anything.
MIN_LABELS = 10
_ANCHORS = (0, 25, 50, 75, 100)
_N_DISAGREEMENTS = 3
Which = Literal["first", "second"]


class ContenderResult(BaseModel):
    """One of the two that are compared.

    Attributes:
        name: What it is called: its file, or its judge.
        judge: The judge that applied the rubric.
        spearman: Rank correlation with people's scores; None where its scores do not vary.
        missing: Responses without a score, by reason.
    """

    name: str
    judge: str
    spearman: Estimate
    missing: dict[str, int]


class Disagreement(BaseModel):
    """A response that people and the better contender rank most differently."""

    question_id: str
    question: str
    response: str
    people: float
    first: float
    second: float


class AnchorRow(BaseModel):
    """Mean scores of the responses whose score by people is nearest to an anchor."""

    anchor: int
    n: int
    people: float
    first: float
    second: float


class RubricComparison(BaseModel):
    """Which of two rubrics or judges agrees better with people.

    Attributes:
        trait: The trait.
        first: The trait's own rubric, or the first judge.
        second: The one it is compared with.
        labels: Responses that people have scored.
        n: Those of them that both have scored: all figures are of these.
        difference: Second − first, of the rank correlations with people.
        better: The one that agrees better; None if these labels show no difference.
        ahead: The one with the higher correlation, whether or not the difference is shown; the
            disagreements are its own.
        disagreements: Responses on which it and people differ most in rank.
        anchors: Mean scores by people's score, to the nearest 0, 25, 50, 75 or 100.
        n_asked: New judgements.
        paid_usd: What they cost; None when a price is unknown.
        unfinished: Reason → number of judgements that the next run asks for again.
    """

    trait: str
    first: ContenderResult
    second: ContenderResult
    labels: int
    n: int
    difference: Estimate
    better: Which | None
    ahead: Which
    disagreements: list[Disagreement]
    anchors: list[AnchorRow]
    n_asked: int = 0
    paid_usd: float | None = 0.0
    unfinished: dict[str, int] = {}

    @property
    def conclusion(self) -> str:
        """What the figures say, in one line."""
        if self.n < MIN_LABELS:
            return (
                f"no comparison: both have scored only {self.n} of {self.labels} labelled"
                f" responses, and {MIN_LABELS} are needed"
            )
        for side in (self.first, self.second):
            if side.spearman.value is None:
                return f"no comparison: {side.name} gave all {self.n} responses the same score"
        if self.difference.interval is None:
            return "no comparison: too few responses differ in their scores for an interval"
        figures = f"difference {self.difference.format('+.2f')}, n = {self.n}"
        if self.better is None:
            return f"no difference that {self.n} labels could show ({figures})"
        better = self.second if self.better == "second" else self.first
        return f"{better.name} agrees better with people ({figures})"


def compare_with_people(
    trait: str,
    labels: Sequence[Label],
    contenders: tuple[ContenderResult, ContenderResult],
    scores: tuple[Sequence[float | None], Sequence[float | None]],
) -> RubricComparison:
    """Compare two sets of scores with people's, on the responses that have all three.

    Args:
        trait: The trait.
        labels: The responses with people's scores, `[n_labels]`.
        contenders: Both contenders; their `spearman` is filled in.
        scores: Their scores, `[n_labels]` each; None where one is missing.
    """
    rows = [
        (label, first, second)
        for label, first, second in zip(labels, *scores, strict=True)
        if first is not None and second is not None
    ]
    figures = Figures(Estimate(), Estimate(), Estimate())
    if len(rows) >= MIN_LABELS:
        people, first, second = zip(*((label.score, a, b) for label, a, b in rows), strict=True)
        figures = compare_scores(people, first, second)
    low, high = figures.difference.interval or (0.0, 0.0)
    ahead: Which = "second" if (figures.difference.value or 0.0) > 0 else "first"
    return RubricComparison(
        trait=trait,
        first=contenders[0].model_copy(update={"spearman": figures.first}),
        second=contenders[1].model_copy(update={"spearman": figures.second}),
        labels=len(labels),
        n=len(rows),
        difference=figures.difference,
        better="second" if low > 0 else "first" if high < 0 else None,
        ahead=ahead,
        disagreements=_furthest(rows, ahead),
        anchors=_anchor_rows(rows),
    )


_Rows = Sequence[tuple[Label, float, float]]


def _furthest(rows: _Rows, ahead: Which) -> list[Disagreement]:
    from scipy.stats import rankdata

    if not rows:
        return []
    people = rankdata([label.score for label, _, _ in rows])
    own = rankdata([second if ahead == "second" else first for _, first, second in rows])
    distance = np.abs(people - own)
    order = sorted(range(len(rows)), key=lambda k: (-distance[k], rows[k][0].question_id))
    return [
        Disagreement(
            question_id=label.question_id, question=label.question, response=label.response,
            people=label.score, first=first, second=second,
        )
        for label, first, second in (rows[k] for k in order[:_N_DISAGREEMENTS] if distance[k] > 0)
    ]  # fmt: skip


def _anchor_rows(rows: _Rows) -> list[AnchorRow]:
    by_anchor: dict[int, list[tuple[float, float, float]]] = {anchor: [] for anchor in _ANCHORS}
    for label, first, second in rows:
        nearest = min(_ANCHORS, key=lambda anchor: abs(label.score - anchor))
        by_anchor[nearest].append((label.score, first, second))
    result = []
    for anchor, own in by_anchor.items():
        if own:
            people, first, second = (round(float(mean), 1) for mean in np.mean(own, axis=0))
            result.append(
                AnchorRow(anchor=anchor, n=len(own), people=people, first=first, second=second)
            )
    return result
