"""`contrast`: do the instructions elicit the trait?"""

from traitvec_core.experiment import ExperimentSettings, Thresholds
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.elicitation import Elicitation, summarise_responses

__all__ = ["check_contrast", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    elicitation = summarise_responses(folder.read_responses(), settings.response_filter)
    return check_contrast(elicitation, settings.thresholds)


def check_contrast(elicitation: Elicitation, thresholds: Thresholds) -> CheckResult:
    """Check the mean trait score, positive − negative, over all scored rows before filtering.

    Passes above `thresholds.contrast`, fails below `thresholds.contrast_warning` and warns in
    between.
    """
    contrast = elicitation.contrast.value
    figures: Figures = {
        "contrast": contrast,
        "mean_positive": elicitation.positive.mean_trait,
        "mean_negative": elicitation.negative.mean_trait,
        "passes_above": thresholds.contrast,
        "fails_below": thresholds.contrast_warning,
    }
    if contrast is None:
        return CheckResult(
            name="contrast",
            verdict="fail",
            summary="a pole has no scored response, so there is no contrast to measure",
            advice=f"Missing scores by reason: positive {elicitation.positive.missing}, negative"
            f" {elicitation.negative.missing}.",
            figures=figures,
        )
    if contrast > thresholds.contrast:
        return CheckResult(
            name="contrast",
            verdict="pass",
            summary=f"contrast {contrast:.1f} (above {thresholds.contrast:g})",
            figures=figures,
        )
    return CheckResult(
        name="contrast",
        verdict="warn" if contrast >= thresholds.contrast_warning else "fail",
        summary=f"contrast {contrast:.1f} is not above {thresholds.contrast:g}",
        advice=_advice(elicitation),
        figures=figures,
    )


def _advice(elicitation: Elicitation) -> str:
    scored = [row for row in elicitation.by_instruction if row["contrast"] is not None]
    if not scored:
        return "No instruction pair has scores on both poles."
    weakest = min(scored, key=lambda row: row["contrast"])
    positive, negative = elicitation.positive.mean_trait or 0, elicitation.negative.mean_trait or 0
    if positive < 50 and negative < 50:
        cause = "the positive instructions barely change the answers"
    elif positive >= 50 and negative >= 50:
        cause = "the negative instructions do not take the trait away"
    else:
        cause = "the poles overlap"
    return (
        f"Here {cause} (positive {positive:.0f}, negative {negative:.0f}); the weakest pair is"
        f" instruction {weakest['number']} with {weakest['contrast']:.1f}."
    )
