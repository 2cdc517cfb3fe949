"""`stability`: would other questions or instructions give the same vector, and did the last run?"""

from collections.abc import Sequence

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.recommended_vector import read_recommended_vector
from traitvec_core.validation.separation import VectorCosine
from traitvec_core.validation.stability import Stability

__all__ = ["check_stability", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    manifest = folder.manifest(VectorsManifest)
    chosen = read_recommended_vector(folder, manifest)
    stability = chosen.evidence.stability if chosen and chosen.evidence else None
    return check_stability(
        stability, manifest.previous_cosines, cosine=settings.thresholds.stability
    )


def check_stability(
    stability: Stability | None,
    previous: Sequence[VectorCosine] = (),
    *,
    cosine: float = 0.9,
) -> CheckResult:
    """Check that the recommended vector does not depend on the questions and pairs at hand.

    Passes when the mean cosine with vectors from resampled questions, that from resampled
    instruction pairs, and that with the previous materialization if there is one, are at least
    `cosine`; fails when one of the first two is below it and no better than under swapped labels;
    warns in between. A change since the last run only warns: it may be intended.

    Args:
        stability: From `measure_stability` for the recommended method and layer; None fails.
        previous: From `cosines_with_previous`, of any methods and layers.
        cosine: Smallest cosine that passes.
    """
    weakest = stability.weakest if stability else None
    if stability is None or weakest is None:
        return CheckResult(
            name="stability",
            verdict="fail",
            summary="no vector is recommended, so there is none whose stability could be measured",
            advice="Without held-out questions nothing can be recommended; see `accuracy`.",
        )
    place = stability.method, stability.layer
    before = next((old.cosine for old in previous if (old.method, old.layer) == place), None)
    figures: Figures = {"previous_cosine": before, "passes_from": cosine}
    is_noise = False
    for each in stability.resampled:
        name = each.of.replace(" ", "_")
        figures[f"{name}_cosine"] = each.cosine.value
        figures[f"{name}_noise"] = each.noise
        value = each.cosine.value or 0.0
        is_noise = is_noise or (value < cosine and each.noise is not None and value <= each.noise)
    advice = []
    if (weakest.cosine.value or 0.0) < cosine:
        advice.append(
            f"A few {weakest.of} decide the direction: add some, or raise n_examples, or take"
            " mean_diff, which varies least."
        )
    if before is not None and not before >= cosine:
        advice.append(
            "The vector differs from the last run's: compare the definition, the judge and the"
            " settings of both runs, and steer with it again before you rely on old coefficients."
        )
    noise = " (no more than under swapped labels)" if is_noise else ""
    with_previous = "no previous one" if before is None else f"{before:.3f} with the previous one"
    cosines = ", ".join(
        f"{each.cosine.format('.3f')} from resampled {each.of}" for each in stability.resampled
    )
    return CheckResult(
        name="stability",
        verdict="fail" if is_noise else "warn" if advice else "pass",
        summary=f"cosine of {stability.method} at layer {stability.layer} with vectors {cosines}"
        f"{noise}; {with_previous} (passes from {cosine:g})",
        advice=" ".join(advice),
        figures=figures,
    )
