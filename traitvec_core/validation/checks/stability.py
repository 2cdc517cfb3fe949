"""`stability`: would other questions give the same vector, and did the last run?"""

from collections.abc import Sequence

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.resampling import Stability
from traitvec_core.validation.separation import VectorCosine

__all__ = ["check_stability", "evaluate"]

# With more dimensions than examples, vectors of pure noise have a cosine of √½ = 0.71 (mean_diff)
# to 0.79 (probe, gradient) with those of a bootstrap resample, which repeats the same noise.
_NOISE_COSINE = 0.8


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    manifest = folder.manifest(VectorsManifest)
    place = manifest.recommended.place if manifest.recommended else None
    own = next((s for s in manifest.stability if (s.method, s.layer) == place), None)
    return check_stability(own, manifest.previous_cosines, cosine=settings.thresholds.stability)


def check_stability(
    stability: Stability | None,
    previous: Sequence[VectorCosine] = (),
    *,
    cosine: float = 0.9,
) -> CheckResult:
    """Check that the recommended vector does not depend on the questions at hand.

    Passes when the mean cosine with vectors from resampled questions, and that with the previous
    materialization if there is one, are at least `cosine`; fails when the first is no better than
    for noise; warns in between. A change since the last run only warns: it may be intended.

    Args:
        stability: From `bootstrap_stability` for the recommended method and layer; None fails.
        previous: From `cosines_with_previous`, of any methods and layers.
        cosine: Smallest cosine that passes.
    """
    if stability is None:
        return CheckResult(
            name="stability",
            verdict="fail",
            summary="no vector is recommended, so there is none whose stability could be measured",
            advice="Without held-out questions nothing can be recommended; see `accuracy`.",
        )
    place = stability.method, stability.layer
    before = next((old.cosine for old in previous if (old.method, old.layer) == place), None)
    resampled = stability.cosine
    figures: Figures = {
        "bootstrap_cosine": resampled.value,
        "bootstrap_low": resampled.low,
        "bootstrap_high": resampled.high,
        "n_resamples": stability.n_resamples,
        "previous_cosine": before,
        "passes_from": cosine,
        "noise_below": _NOISE_COSINE,
    }
    advice = []
    if resampled.value is None or resampled.value < cosine:
        advice.append(
            "A few questions decide the direction: add questions or raise n_examples, or take"
            " mean_diff, which varies least."
        )
    if before is not None and not before >= cosine:
        advice.append(
            "The vector differs from the last run's: compare the definition, the judge and the"
            " settings of both runs, and steer with it again before you rely on old coefficients."
        )
    is_noise = resampled.value is None or resampled.value < _NOISE_COSINE
    with_previous = "no previous one" if before is None else f"{before:.3f} with the previous one"
    return CheckResult(
        name="stability",
        verdict="fail" if is_noise else "warn" if advice else "pass",
        summary=f"cosine of {stability.method} at layer {stability.layer} with vectors from"
        f" resampled questions {resampled.format('.3f')}; {with_previous} (passes from {cosine:g})",
        advice=" ".join(advice),
        figures=figures,
    )
