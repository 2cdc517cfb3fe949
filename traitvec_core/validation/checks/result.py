"""What a check returns."""

from typing import Literal

from pydantic import BaseModel, Field

from traitvec_core.validation.finding import Finding

__all__ = ["CheckResult", "Figures", "Verdict"]

Verdict = Literal["pass", "warn", "fail"]

Figures = dict[str, float | int | str | None]
"""Numbers and thresholds by name; Dagster plots the numbers per trait."""


class CheckResult(BaseModel):
    """One check's verdict on one trait.

    Attributes:
        name: The check's name.
        verdict: `pass`, `warn` or `fail`.
        summary: The result in one line.
        advice: What to do about it; empty when it passes.
        figures: The numbers and thresholds behind the verdict.
        findings: What the linter found in the definition; empty for all other checks.
        accepted: Why the owner accepts the warning, for a check that passes only by that.
    """

    name: str
    verdict: Verdict
    summary: str
    advice: str = ""
    figures: Figures = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    accepted: str = ""
