"""`confounds`: does something simpler than the trait separate the poles as well?"""

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.explanations import Baseline, Explanations
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.separation import Separation

__all__ = ["check_confounds", "evaluate"]

_LABELS = {
    "length": "one threshold on length",
    "refusal": "refusing",
    "words": "a bag of words",
    "embeddings": "the probe at the embeddings (layer 0)",
}
_ADVICE = {
    "length": "read long positives beside short negatives (or the other way round), ask for one"
    " length in the instructions or cap max_new_tokens, and extract again; if the trait is about"
    " length, this is as it should be",
    "refusal": "read the refusals: the vector may represent refusing instead of the trait; drop"
    " them, or reword the instructions; if the trait is about refusing, this is as it should be",
    "words": "look for stock phrases and formats that one pole repeats, and vary the instructions;"
    " a trait that is a way of wording is recognised by its words",
    "embeddings": "the model's layers add nothing to the tokens themselves at this position; look"
    " for the same stock phrases, and compare steering before you trust the vector",
    "instructions": "the vectors may represent these wordings; write instruction pairs that differ"
    " more from one another, and see which pair fails by itself",
}


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    manifest = folder.manifest(VectorsManifest)
    return check_confounds(
        manifest.explanations,
        manifest.separation_by_instruction,
        accuracy=settings.thresholds.accuracy,
    )


def check_confounds(
    explanations: Explanations | None,
    by_instruction: Separation | None = None,
    *,
    accuracy: float = 0.9,
) -> CheckResult:
    """Check whether something simpler than the trait separates the poles.

    Warns when

    - one threshold on length, or refusing, does so by itself: as accurately as the accuracy check
      requires of the probe, or as the probe does;
    - a bag of words, or the probe at the embeddings, does as well as the probe;
    - the probe, at its best layer, falls short of the accuracy check on instruction pairs that it
      was not trained on.

    "As well" means that the probe's advantage is not above 0 in 97.5% of the draws of questions.
    The check never fails because of what it finds: verbosity is about length, slang is about words,
    and no figure can distinguish such a trait from a confounded one. A person has to look, and the
    advice says where.

    Args:
        explanations: From `measure_explanations`; None where nothing was held out, which fails.
        by_instruction: From `measure_separation` by instruction pair, if there are several pairs.
        accuracy: Balanced accuracy above which one number alone explains too much, and which the
            probe must exceed on new instructions: the threshold of the accuracy check.
    """
    if explanations is None or explanations.probe_accuracy.value is None:
        return CheckResult(
            name="confounds",
            verdict="fail",
            summary="nothing could be held out, so no other explanation was tested",
            advice="Add questions, or see `coverage` for why so few responses were kept.",
        )
    probe = explanations.probe_accuracy.value
    figures: Figures = {"probe": probe, "one_number_warns_above": accuracy}
    figures |= _figures(explanations)
    doubts: dict[str, str] = {
        baseline.name: f"{_LABELS[baseline.name]} {_percent(baseline.accuracy.value)}"
        for baseline in explanations.baselines
        if _explains(baseline, accuracy)
    }
    on_new_instructions = by_instruction.probe_accuracy.value if by_instruction else None
    if on_new_instructions is not None:
        figures["probe_on_new_instructions"] = on_new_instructions
        # Where the probe does badly on new questions too, the accuracy check says so.
        if on_new_instructions <= accuracy < probe:
            doubts["instructions"] = (
                f"the probe on new instructions only {_percent(on_new_instructions)}"
            )
    reference = f"(the probe on new questions: {_percent(probe)})"
    if not doubts:
        best = max(explanations.baselines, key=lambda baseline: baseline.accuracy.value or 0.0)
        return CheckResult(
            name="confounds",
            verdict="pass",
            summary="nothing simpler separates the poles as well; closest is"
            f" {_LABELS[best.name]} {_percent(best.accuracy.value)} {reference}",
            figures=figures,
        )
    return CheckResult(
        name="confounds",
        verdict="warn",
        summary="held-out accuracy of other explanations:"
        f" {'; '.join(doubts.values())} {reference}",
        advice=" ".join(f"{name.capitalize()}: {_ADVICE[name]}." for name in doubts),
        figures=figures,
    )


def _figures(explanations: Explanations) -> Figures:
    figures: Figures = {}
    for baseline in explanations.baselines:
        figures[f"{baseline.name}_accuracy"] = baseline.accuracy.value
        figures[f"{baseline.name}_auroc"] = baseline.auroc.value
        figures[f"probe_over_{baseline.name}"] = baseline.probe_advantage.value
    for share in explanations.shares:
        figures[f"{share.name}_share_of_separation"] = share.share_of_separation.value
        figures[f"{share.name}_correlation"] = share.correlation.value
    figures["largest_dimensions_share"] = explanations.largest.share_of_vector
    if explanations.largest.without is not None:
        figures["auroc_without_largest_dimensions"] = explanations.largest.without.auroc.value
    return figures


def _explains(baseline: Baseline, accuracy: float) -> bool:
    """Whether a baseline explains what the probe separates."""
    is_one_number = baseline.name in {"length", "refusal"}
    if is_one_number and (baseline.accuracy.value or 0.0) > accuracy:
        return True
    return not (baseline.probe_advantage.low or 0.0) > 0


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1%}"
