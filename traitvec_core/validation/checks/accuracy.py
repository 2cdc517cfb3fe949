"""`accuracy`: does a probe separate the poles on questions and pairs that it has not seen?"""

from collections.abc import Sequence

from traitvec_core.experiment import ExperimentSettings, Thresholds
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.separation import Separation

__all__ = ["check_accuracy", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    manifest = folder.manifest(VectorsManifest)
    train_accuracies = [row.train_accuracy for row in manifest.vectors]
    return check_accuracy(manifest.separation, train_accuracies, settings.thresholds)


def check_accuracy(
    separation: Separation, train_accuracies: Sequence[float], thresholds: Thresholds
) -> CheckResult:
    """Check the probe's balanced accuracy on held-out questions and instruction pairs.

    Passes above `thresholds.accuracy`; warns within about a standard error below, half of the way
    to the interval's end, where chance decides whether it passes; fails further below.

    Args:
        separation: Held-out figures.
        train_accuracies: Of all vectors; shown beside the verdict, never part of it.
        thresholds: The experiment's thresholds.
    """
    accuracy = separation.probe_accuracy.value
    figures: Figures = {
        "held_out_accuracy": accuracy,
        "best_train_accuracy": max(train_accuracies, default=None),
        "passes_above": thresholds.accuracy,
        "n_held_out": separation.n_held_out,
        "n_folds": separation.n_folds,
    }
    if accuracy is None:
        return CheckResult(
            name="accuracy",
            verdict="fail",
            summary="nothing could be held out: two questions with both poles are needed, and with"
            " several instruction pairs two of these",
            advice="Add questions, or see `coverage` for why so few responses were kept.",
            figures=figures,
        )
    passes = accuracy > thresholds.accuracy
    high = separation.probe_accuracy.high
    is_near = high is not None and (accuracy + high) / 2 > thresholds.accuracy
    return CheckResult(
        name="accuracy",
        verdict="pass" if passes else "warn" if is_near else "fail",
        summary=f"balanced probe accuracy {separation.probe_accuracy.format('.3f')} on"
        f" {separation.held_out_by}, over {separation.n_held_out} examples"
        f" ({'above' if passes else 'not above'} {thresholds.accuracy:g})",
        advice=""
        if passes
        else "Training accuracy does not help here: it is 1.0 for any labels when there are more"
        " dimensions than examples. Look at contrast and at the instructions first.",
        figures=figures,
    )
