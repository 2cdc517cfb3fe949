"""What the stage `validation_report` records, as a typed model."""

from typing import ClassVar

from pydantic import BaseModel, Field

from traitvec_core.stage_names import Stage
from traitvec_core.storage.manifests import Recommendation, StageManifest
from traitvec_core.validation.checks.result import CheckResult, Verdict
from traitvec_core.validation.elicitation import Elicitation
from traitvec_core.validation.key_figure import KeyFigure
from traitvec_core.validation.second_opinion import SecondOpinion
from traitvec_core.validation.style_stress import StyleStress

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
        second_opinion: The comparison with a second elicitation; None where there is none.
        no_second_opinion: Why there is none, where one was asked for.
        style_stress: Held-out figures after changes of style.
    """

    stage: ClassVar[Stage] = "validation_report"

    answer: Answer
    figures: list[KeyFigure] = Field(default_factory=list)
    recommended: Recommendation | None
    checks: list[CheckResult]
    elicitation: Elicitation
    second_opinion: SecondOpinion | None = None
    no_second_opinion: str = ""
    style_stress: list[StyleStress] = Field(default_factory=list)
