"""What the stage `validation_report` records, as a typed model."""

from typing import ClassVar

from traitvec_core.stage_names import Stage
from traitvec_core.storage.manifests import Recommendation, StageManifest
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.elicitation import Elicitation

__all__ = ["ReportManifest"]


class ReportManifest(StageManifest):
    """The part of `validation/report.json` that other stages and tools read back.

    Attributes:
        recommended: By steering where that was evaluated, else by separation.
        checks: Every check's result.
        elicitation: What the instructions elicited.
    """

    stage: ClassVar[Stage] = "validation_report"

    recommended: Recommendation | None
    checks: list[CheckResult]
    elicitation: Elicitation
