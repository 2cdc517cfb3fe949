"""What the stage `validation_report` records, as a typed model."""

from typing import ClassVar

from pydantic import BaseModel, Field

from traitvec_core.stage_names import Stage
from traitvec_core.storage.manifests import Recommendation, StageManifest
from traitvec_core.validation.checks.result import CheckResult, Verdict
from traitvec_core.validation.elicitation import Elicitation
from traitvec_core.validation.key_figure import KeyFigure

__all__ = ["Answer", "ReportManifest"]


class Answer(BaseModel):
    """The answer that a report opens with.

    Attributes:
        verdict: The overall verdict, on the scale of the checks.
        headline: The answer in a few words.
        text: The same as a paragraph: the doubts first, then which vector and how strong.
    """

    verdict: Verdict
    headline: str
    text: str


class ReportManifest(StageManifest):
    """The part of `validation/report.json` that other stages and tools read back.

    Attributes:
        answer: Whether the vector can be used.
        figures: The four figures behind the answer; empty in a report of an older version.
        recommended: By steering where that was evaluated, else by separation.
        checks: Every check's result.
        elicitation: What the instructions elicited.
    """

    stage: ClassVar[Stage] = "validation_report"

    answer: Answer
    figures: list[KeyFigure] = Field(default_factory=list)
    recommended: Recommendation | None
    checks: list[CheckResult]
    elicitation: Elicitation
