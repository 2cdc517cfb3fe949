"""`norm`: is the recommended vector's norm in the experiment's range?"""

from traitvec_core.experiment import ExperimentSettings, NormThreshold
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.manifests import VectorRow, VectorsManifest

__all__ = ["check_norm", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    manifest = folder.manifest(VectorsManifest)
    return check_norm(manifest.recommended_row, settings.thresholds.norm)


def check_norm(vector: VectorRow | None, threshold: NormThreshold) -> CheckResult:
    """Check that a vector's norm, absolute or relative, is in a range.

    Args:
        vector: The recommended vector; None fails.
        threshold: The range, and which of the two norms has to be in it.
    """
    if vector is None:
        return CheckResult(
            name="norm",
            verdict="fail",
            summary="no vector is recommended, so there is no norm to check",
            advice="Without held-out questions nothing can be recommended; see `accuracy`.",
        )
    is_absolute = threshold.kind == "absolute"
    name = "vector_norm" if is_absolute else "relative_norm"
    value = vector.vector_norm if is_absolute else vector.relative_norm
    is_inside = threshold.minimum <= value <= threshold.maximum
    return CheckResult(
        name="norm",
        verdict="pass" if is_inside else "fail",
        summary=f"{name} {value:.3g} of {vector.method} at layer {vector.layer} is"
        f" {'in' if is_inside else 'not in'} [{threshold.minimum:g}, {threshold.maximum:g}]",
        advice=""
        if is_inside
        else "Norms carry over only between similar models: set thresholds.norm in experiment.yaml"
        " to this model's range, or check relative_norm (kind: relative).",
        figures={
            "held": name,
            "minimum": threshold.minimum,
            "maximum": threshold.maximum,
            "vector_norm": vector.vector_norm,
            "relative_norm": vector.relative_norm,
        },
    )
