"""`norm`: is the recommended vector longer than chance makes it, or in the experiment's range?"""

import math

from traitvec_core.experiment import ExperimentSettings, NormThreshold
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.manifests import VectorRow, VectorsManifest
from traitvec_core.validation.recommended_vector import read_recommended_vector
from traitvec_core.vectors import TraitVector

__all__ = ["check_norm", "evaluate"]

_ADVICE_ON_RANGE = (
    "Norms carry over only between similar models: set thresholds.norm in experiment.yaml to this"
    " model's range, or compare with chance (kind: chance)."
)
_ADVICE_ON_CHANCE = (
    "Swapped labels give vectors of much the same length: the poles differ little compared with the"
    " noise. Look at `contrast` first, then add instruction pairs or raise n_examples."
)


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    chosen = read_recommended_vector(folder, folder.manifest(VectorsManifest))
    row = chosen.row if chosen else None
    return check_norm(row, row.chance_norm if row else None, settings.thresholds.norm)


def check_norm(
    vector: VectorRow | TraitVector | None, chance_norm: float | None, threshold: NormThreshold
) -> CheckResult:
    """Check that a vector's norm is in a range.

    Args:
        vector: The recommended vector; None fails.
        chance_norm: Its median norm under swapped labels; None where labels cannot be swapped.
        threshold: The range, and which norm has to be in it.
    """
    if vector is None:
        return CheckResult(
            name="norm",
            verdict="fail",
            summary="no vector is recommended, so there is no norm to check",
            advice="Without held-out questions nothing can be recommended; see `accuracy`.",
        )
    figures: Figures = {
        "held": threshold.kind,
        "minimum": threshold.minimum,
        "maximum": threshold.maximum,
        "vector_norm": vector.vector_norm,
        "relative_norm": vector.relative_norm,
        "chance_norm": chance_norm,
    }
    name, value, advice = _held(vector, chance_norm, threshold)
    place = f"{vector.method} at layer {vector.layer}"
    if value is None:
        return CheckResult(
            name="norm",
            verdict="fail",
            summary=f"{place}: labels cannot be swapped, so there is no norm by chance to compare",
            advice="This needs two instruction pairs; or check the norm itself (kind: relative).",
            figures=figures,
        )
    upper = math.inf if threshold.maximum is None else threshold.maximum
    is_inside = threshold.minimum <= value <= upper
    wanted = (
        f"{threshold.minimum:g}"
        if threshold.maximum is None
        else f"{threshold.minimum:g} to {threshold.maximum:g}"
    )
    return CheckResult(
        name="norm",
        verdict="pass" if is_inside else "fail",
        summary=f"{name} of {place} is {value:.3g};"
        f" {'passes from' if threshold.maximum is None else 'passes in'} {wanted}",
        advice="" if is_inside else advice,
        figures=figures,
    )


def _held(
    vector: VectorRow | TraitVector, chance_norm: float | None, threshold: NormThreshold
) -> tuple[str, float | None, str]:
    """What is compared: its name, its value, and what to do when it is out of range."""
    if threshold.kind == "absolute":
        return "vector_norm", vector.vector_norm, _ADVICE_ON_RANGE
    if threshold.kind == "relative":
        return "relative_norm", vector.relative_norm, _ADVICE_ON_RANGE
    value = vector.vector_norm / chance_norm if chance_norm else None
    return "vector_norm over chance_norm", value, _ADVICE_ON_CHANCE
