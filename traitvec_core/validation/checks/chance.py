"""`chance`: does the vector beat swapped labels and random directions?"""

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.checks.result import CheckResult, Figures, Verdict
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.recommended_vector import read_recommended_vector

__all__ = ["check_chance", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    manifest = folder.manifest(VectorsManifest)
    chosen = read_recommended_vector(folder, manifest)
    place = chosen.recommendation.place if chosen else None
    return check_chance(manifest.chance, place, significance=settings.thresholds.significance)


def check_chance(
    chance: Chance | None,
    place: tuple[str, int] | None = None,
    *,
    significance: float = 0.05,
) -> CheckResult:
    """Check that the vectors, and the recommended one among them, beat chance.

    All p-values are corrected over layers and methods, and all must reach the significance: the
    best vector's against swapped instruction pairs, swapped questions and random directions, and
    the recommended vector's against swapped labels. So noise passes in at most that share of
    traits. Where so few instruction pairs exist that no result could reach it, the best possible
    result warns.

    Args:
        chance: From `measure_chance`; None or untested fails.
        place: Method and layer of the recommended vector.
        significance: Largest p-value that passes.
    """
    p_value = chance.permutation_p_value if chance else None
    if chance is None or p_value is None or chance.random is None:
        return CheckResult(
            name="chance",
            verdict="fail",
            summary=(chance.untested if chance else "") or "nothing was compared with chance",
            advice="Poles of entire questions and instruction pairs are swapped, so this needs"
            " several with kept responses on both poles. See `coverage`.",
        )
    own = chance.of(*place) if place else None
    p_values = {f"{test.of} swapped": test.p_value for test in chance.tests}
    # The smallest p-value that each can show.
    smallest = {f"{test.of} swapped": test.smallest_p_value for test in chance.tests}
    limit = max(smallest.values())
    p_values["random directions"] = chance.random.p_value
    if own is not None:
        p_values["recommended vector"] = own.corrected_p_value
        smallest["recommended vector"] = limit
    figures: Figures = {name.replace(" ", "_"): value for name, value in p_values.items()}
    figures |= {
        "passes_up_to": significance,
        "smallest_p_value": limit,
        "auroc": own.auroc if own else None,
        "best_effect_size": chance.random.best_effect_size,
        "random_effect_size": chance.random.effect_size_high,
    }
    figures |= {f"n_{test.of.replace(' ', '_')}": test.n_groups for test in chance.tests}
    verdict: Verdict = "pass"
    if max(p_values.values()) > significance:
        is_best = all(p <= max(significance, smallest.get(n, 0.0)) for n, p in p_values.items())
        # Of one instruction pair nothing can be swapped: wording and trait are the same thing.
        verdict = "warn" if is_best and limit < 1 else "fail"
    shown = ", ".join(f"{name} {value:.2g}" for name, value in p_values.items())
    return CheckResult(
        name="chance",
        verdict=verdict,
        summary=f"p-values over all layers and methods: {shown} (passes up to {significance:g})",
        advice=_advice(chance, significance, verdict),
        figures=figures,
    )


def _advice(chance: Chance, significance: float, verdict: str) -> str:
    if verdict == "pass":
        return ""
    for test in chance.tests:
        if test.smallest_p_value > significance:
            if test.n_labelings == 1:
                return (
                    f"Two {test.of} or more with both poles are needed, or nothing tells the trait"
                    " from one wording or topic. Ten instruction pairs are recommended."
                )
            return (
                f"With {test.n_groups} {test.of} on both poles, no result could show less than p ="
                f" 1/{test.n_labelings}: swapping all of them changes nothing, so"
                f" {test.n_groups} can be swapped in {test.n_labelings} ways that differ. Ten"
                " instruction pairs are recommended."
            )
    beats_labels = (chance.permutation_p_value or 0.0) <= significance
    if beats_labels and chance.random is not None and chance.random.p_value > significance:
        return (
            "The poles differ, but random directions separate them as well: the difference is in"
            " most directions at once (a shift of the whole activation, often by length or format)."
            " See `confounds`."
        )
    return (
        "Swapped labels do as well as the real ones: what separates the poles belongs to single"
        " instruction texts or questions, or the responses differ too little. Look at `contrast`"
        " first, then write more instruction pairs."
    )
