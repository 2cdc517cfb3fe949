"""All checks of a trait from what lies on disk: for the asset checks, the report and `status`."""

import math
from collections.abc import Callable
from typing import Any, get_args

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import CheckName, ExperimentSettings
from traitvec_core.judging.agreement import Agreement, measure_agreement
from traitvec_core.judging.load import is_judge_compared
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.check_vectors import (
    check_chance,
    check_confounds,
    check_stability,
)
from traitvec_core.validation.checks import (
    CheckResult,
    check_accuracy,
    check_activations,
    check_agreement,
    check_contrast,
    check_coverage,
    check_definition,
    check_norm,
)
from traitvec_core.validation.elicitation import Elicitation, summarise_responses
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.resampling import Stability
from traitvec_core.validation.separation import Separation, VectorCosine

__all__ = [
    "CHECKS",
    "TROUBLESHOOTING",
    "agreements_of",
    "applicable_checks",
    "evaluate",
    "recommended_vector",
    "separation_of",
]

CHECKS: tuple[CheckName, ...] = get_args(CheckName)

# Where docs/troubleshooting.md says what to do. A path and no address: a page on disk and Dagster's
# UI have no way to the docs of this very version.
TROUBLESHOOTING: dict[CheckName, str] = {
    "definition": "broken-definitions",
    "contrast": "weak-contrast",
    "coverage": "nothing-is-kept",
    "agreement": "a-doubtful-judge",
    "sanity": "activations-that-are-not-finite",
    "norm": "norms-out-of-range",
    "accuracy": "weak-separation",
    "confounds": "other-explanations",
    "chance": "no-better-than-chance",
    "stability": "an-unstable-vector",
}
# The same for files that are missing or were changed.
_UNREADABLE = "stale-results"


def applicable_checks(settings: ExperimentSettings, folder: TraitFolder) -> list[CheckName]:
    """Return the checks that make sense for a trait: `agreement` needs something to compare."""
    is_compared = is_judge_compared(settings, [folder])
    return [name for name in CHECKS if is_compared or name != "agreement"]


def evaluate(check: CheckName, folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate one check of a trait on what its stages left on disk.

    Args:
        check: A name from `CHECKS`.
        folder: The trait's folder.
        settings: The experiment's settings, for thresholds.

    Returns:
        The verdict. What cannot be read has not been tested, and fails.
    """
    section = TROUBLESHOOTING[check]
    try:
        found = _EVALUATE[check](folder, settings)
    except TraitvecError as error:
        found = CheckResult(name=check, verdict="fail", summary=str(error))
        if not isinstance(error, DefinitionError):
            section = _UNREADABLE
    if found.verdict == "pass":
        return found
    see = f"See docs/troubleshooting.md#{section}."
    changed: dict[str, Any] = {"advice": f"{found.advice} {see}".strip()}
    severity = settings.severities.get(check)
    if severity is not None:
        changed["verdict"] = "warn" if severity == "warn" else "fail"
    return found.model_copy(update=changed)


def _definition(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    return check_definition(folder.read_definition_bytes(), display_path(folder.definition_path))


def _contrast(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    return check_contrast(_elicitation(folder, settings), settings.thresholds)


def _coverage(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    return check_coverage(_elicitation(folder, settings))


def _agreement(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    agreements = agreements_of(folder.metadata("judged_responses"), settings.threshold)
    return check_agreement(agreements, settings.thresholds.agreement)


def agreements_of(metadata: dict[str, Any], threshold: float) -> list[Agreement]:
    """How far the judge agrees with what it was compared with, from the stage's metadata."""
    found = []
    for compared in metadata.get("compared", []):
        pairs = [
            [math.nan if score is None else score for score in scores]
            for _, *scores in compared["scores"]
        ]
        first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        found.append(measure_agreement(first, second, threshold, compared["with"]))
    return found


def _elicitation(folder: TraitFolder, settings: ExperimentSettings) -> Elicitation:
    return summarise_responses(
        folder.read_responses(), settings.threshold, settings.min_coherence, settings.pairing
    )


def _sanity(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    return check_activations(folder.read_activations(), folder.metadata("activations"))


def _norm(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    return check_norm(recommended_vector(folder.metadata("vectors")), settings.thresholds.norm)


def _accuracy(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    manifest = folder.metadata("vectors")
    return check_accuracy(
        separation_of(manifest),
        [row["train_accuracy"] for row in manifest["vectors"]],
        settings.thresholds,
    )


def _confounds(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    manifest = folder.metadata("vectors")
    raw = manifest["explanations"]
    return check_confounds(
        raw and Explanations.model_validate(raw),
        Separation.model_validate(manifest["separation_by_instruction"]),
        accuracy=settings.thresholds.accuracy,
    )


def _chance(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    found = Chance.model_validate(folder.metadata("vectors")["chance"])
    return check_chance(found, significance=settings.thresholds.significance)


def _stability(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    manifest = folder.metadata("vectors")
    best = manifest["recommended"] or {}
    own = next(
        (
            found
            for found in map(Stability.model_validate, manifest["stability"])
            if (found.method, found.layer) == (best.get("method"), best.get("layer"))
        ),
        None,
    )
    previous = [VectorCosine.model_validate(raw) for raw in manifest["previous_cosines"]]
    return check_stability(own, previous, cosine=settings.thresholds.stability)


def recommended_vector(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The metadata of the recommended vector in a manifest, or None."""
    chosen = manifest["recommended"]
    if chosen is None:
        return None
    found: dict[str, Any] = next(
        row
        for row in manifest["vectors"]
        if row["method"] == chosen["method"] and row["layer"] == chosen["layer"]
    )
    return found


def separation_of(manifest: dict[str, Any]) -> Separation:
    """The held-out figures in a manifest."""
    return Separation.model_validate(manifest["separation"])


_EVALUATE: dict[CheckName, Callable[[TraitFolder, ExperimentSettings], CheckResult]] = {
    "definition": _definition,
    "contrast": _contrast,
    "coverage": _coverage,
    "agreement": _agreement,
    "sanity": _sanity,
    "norm": _norm,
    "accuracy": _accuracy,
    "confounds": _confounds,
    "chance": _chance,
    "stability": _stability,
}
