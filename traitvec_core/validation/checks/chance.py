"""`chance`: do the vectors beat permuted labels and random directions?"""

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.manifests import VectorsManifest

__all__ = ["check_chance", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    chance = folder.manifest(VectorsManifest).chance
    return check_chance(chance, significance=settings.thresholds.significance)


def check_chance(chance: Chance | None, *, significance: float = 0.05) -> CheckResult:
    """Check that the vectors beat label permutations and random directions.

    Both p-values are corrected over layers and methods, and both must reach the significance, so
    pure noise passes in at most that share of traits.

    Args:
        chance: From `measure_chance`; None or untested fails.
        significance: Largest p-value that passes.
    """
    if chance is None or chance.permutation_p_value is None or chance.random_p_value is None:
        return CheckResult(
            name="chance",
            verdict="fail",
            summary=(chance.untested if chance else "") or "nothing was compared with chance",
            advice="Labels are permuted within questions, so this needs questions with kept"
            " responses on both poles. See `coverage`.",
        )
    best = min(chance.scores, key=lambda score: (score.corrected_p_value, -score.auroc))
    figures: Figures = {
        "permutation_p_value": chance.permutation_p_value,
        "random_p_value": chance.random_p_value,
        "passes_up_to": significance,
        "smallest_p_value": chance.smallest_p_value,
        "best_auroc": best.auroc,
        "best_effect_size": chance.best_effect_size,
        "random_effect_size": chance.random_effect_size,
        "n_permutations": chance.n_permutations,
        "n_movable": chance.n_movable,
    }
    beats_labels = chance.permutation_p_value <= significance
    beats_random = chance.random_p_value <= significance
    passes = beats_labels and beats_random
    return CheckResult(
        name="chance",
        verdict="pass" if passes else "fail",
        summary=f"p = {chance.permutation_p_value:.3g} against {chance.n_permutations} label"
        f" permutations and {chance.random_p_value:.3g} against {chance.n_random} draws of random"
        f" directions, over all layers and methods (passes up to {significance:g})",
        advice="" if passes else _advice(chance, significance, beats_labels=beats_labels),
        figures=figures,
    )


def _advice(chance: Chance, significance: float, *, beats_labels: bool) -> str:
    if (chance.smallest_p_value or 0.0) > significance:
        return (
            "Too few responses belong to questions that are kept on both poles: no result could"
            " reach this p-value. Raise n_examples or add questions."
        )
    if beats_labels:
        return (
            "The poles differ, but random directions separate them as well: the difference is in"
            " most directions at once (a shift of the whole activation, often by length or format)."
            " See `confounds`."
        )
    return (
        "Permuted labels do as well as the real ones: the responses differ too little, or there are"
        " too few. Look at `contrast` first, then raise n_examples."
    )
