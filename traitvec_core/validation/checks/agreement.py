"""`agreement`: do a second judge, people and the judge itself, asked again, agree with it?"""

import math
from collections.abc import Sequence

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.agreement import Agreement, measure_agreement
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import JudgeComparison, JudgedResponsesManifest
from traitvec_core.validation.checks.result import CheckResult, Figures

__all__ = ["check_agreement", "evaluate", "measure_agreements"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    compared = folder.manifest(JudgedResponsesManifest).compared
    agreements = measure_agreements(compared, settings.threshold)
    return check_agreement(agreements, settings.thresholds.agreement)


def measure_agreements(compared: Sequence[JudgeComparison], threshold: float) -> list[Agreement]:
    """Measure how far the judge agrees with each source that it was compared with.

    Args:
        compared: From the manifest of `judged_responses`.
        threshold: Where positives end and negatives begin.
    """
    agreements = []
    for source in compared:
        first = [math.nan if score is None else score for _, score, _ in source.scores]
        second = [math.nan if score is None else score for _, _, score in source.scores]
        agreements.append(measure_agreement(first, second, threshold, source.with_))
    return agreements


def check_agreement(agreements: Sequence[Agreement], threshold: float) -> CheckResult:
    """Check that others put the same responses above and below the filter's line; only warns.

    Args:
        agreements: From `measure_agreements`.
        threshold: Share of responses on the same side of the line that passes.
    """
    if not agreements:
        return CheckResult(
            name="agreement",
            verdict="warn",
            summary="there is nothing to compare this trait's judge with",
            advice="Set second_judge or judge_repeats, or put human_scores.csv into the folder.",
        )
    worst = min(agreements, key=lambda agreement: agreement.same_side.value or 0.0)
    figures: Figures = {
        "passes_from": threshold,
        "compared_with": worst.with_,
        "same_side": worst.same_side.value,
        "pearson": worst.pearson.value,
        "spearman": worst.spearman.value,
        "mean_absolute_difference": worst.mean_absolute_difference.value,
        "n": worst.n,
        "missing": worst.missing,
    }
    doubtful = [
        agreement.with_
        for agreement in agreements
        if agreement.same_side.value is None or agreement.same_side.value < threshold
    ]
    return CheckResult(
        name="agreement",
        verdict="warn" if doubtful else "pass",
        summary="; ".join(map(_summary, agreements)),
        advice=f"Read responses that {' and '.join(doubtful)} and the judge decide differently on"
        " (both scores are in responses/judging_metadata.json); sharpen the rubric, or take a"
        " stronger judge."
        if doubtful
        else "",
        figures=figures,
    )


def _summary(agreement: Agreement) -> str:
    side = agreement.same_side
    if side.value is None:
        return f"{agreement.with_}: only {agreement.n} responses scored by both"
    return (
        f"{agreement.with_}: {side.value:.0%} on the same side"
        f" [{side.low:.0%}, {side.high:.0%}], mean difference"
        f" {agreement.mean_absolute_difference.value:.1f}"
        + ("" if agreement.pearson.value is None else f", r = {agreement.pearson.value:.2f}")
        + f" (n = {agreement.n})"
    )
