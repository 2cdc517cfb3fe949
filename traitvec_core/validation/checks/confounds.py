"""`confounds`: does something other than the trait explain what the vector separates?"""

from collections.abc import Collection

from traitvec_core.experiment import ExperimentSettings, Thresholds
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures, Verdict
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.read_second_opinion import read_second_opinion
from traitvec_core.validation.recommended_vector import read_recommended_vector
from traitvec_core.validation.second_opinion import SecondOpinion
from traitvec_core.validation.shares import ShareOfVector

__all__ = ["check_confounds", "evaluate"]

_LABELS = {
    "length": "length",
    "refusal": "refusing",
    "words": "the words",
    "embeddings": "the embeddings (layer 0)",
    "instruction": "the instruction in the context",
}
_ADVICE = {
    "length": "read long positives beside short negatives (or the other way round), ask for one"
    " length in the instructions or cap max_new_tokens, and extract again; if the trait is about"
    " length, write `about: [length]` in its definition",
    "refusal": "read the refusals: the vector may represent refusing instead of the trait; drop"
    " them, or reword the instructions; if the trait is about refusing, write `about: [refusal]` in"
    " its definition",
    "words": "look for stock phrases and formats that one pole repeats, and vary the instructions;"
    " if the trait is a way of wording, write `about: [words]` in its definition",
    "embeddings": "the model's layers add little to the tokens themselves at this position; look"
    " for stock phrases, and compare steering before you trust the vector",
    "instruction": "the vector represents being told to, more than doing it: it will hardly fire on"
    " a response that shows the trait unasked; raise n_examples, or read positions further into the"
    " response",
}
_ADVICE_OF_SECOND = (
    "Two elicitations: read responses of both, and use the vector whose responses show the trait."
)
# A trait about words is one about the embeddings, which are the words' own vectors.
_IMPLIED = {"words": {"words", "embeddings"}}


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    chosen = read_recommended_vector(folder, folder.manifest(VectorsManifest))
    explanations = chosen.evidence.explanations if chosen and chosen.evidence else None
    opinion, _ = read_second_opinion(folder, settings)
    return check_confounds(explanations, settings.thresholds, folder.definition().about, opinion)


def check_confounds(
    explanations: Explanations | None,
    thresholds: Thresholds = Thresholds(),
    about: Collection[str] = (),
    opinion: SecondOpinion | None = None,
) -> CheckResult:
    """Check which share of the recommended vector's separation something else explains.

    For length, words, refusing, the embeddings and the instruction in the context:

    - a share above `thresholds.share` fails, if its interval stays above
      `thresholds.share_warning`;
    - a share above `thresholds.share_warning` warns;
    - where the share is not known, because it hardly varies within the poles, a classifier on it
      that is as accurate as the accuracy check asks of the probe warns.

    Args:
        explanations: From `measure_explanations`; None where nothing was held out, which fails.
        thresholds: The experiment's thresholds.
        about: What the trait is about by its definition; those shares count as the trait.
        opinion: The comparison with the second elicitation; None where there is none.
    """
    if explanations is None:
        return CheckResult(
            name="confounds",
            verdict="fail",
            summary="nothing could be held out, so no other explanation was tested",
            advice="Add questions, or see `coverage` for why so few responses were kept.",
        )
    excused = {name for each in about for name in _IMPLIED.get(each, {each})}
    verdicts: dict[str, Verdict] = {}
    for share in explanations.shares:
        if share.name not in excused:
            verdicts[share.name] = _judge(share, explanations, thresholds)
    doubts = {name: verdict for name, verdict in verdicts.items() if verdict != "pass"}
    judged = [share for share in explanations.shares if share.name in verdicts]
    shown = [share for share in judged if share.name in doubts] or judged
    parts = [f"{_LABELS[share.name]} {_percent(share)}" for share in shown]
    excuse = f"; the trait is about {', '.join(sorted(about))}" if about else ""
    method = f"{explanations.method} at layer {explanations.layer}"
    disagrees = opinion is not None and opinion.opinion == "disagree"
    advice = [f"{_LABELS[name].capitalize()}: {_ADVICE[name]}." for name in doubts]
    return CheckResult(
        name="confounds",
        verdict="fail" if "fail" in doubts.values() else "warn" if doubts or disagrees else "pass",
        summary=f"share of {method}'s separation explained by {', '.join(parts) or 'anything else'}"
        f" (warns above {thresholds.share_warning:.0%}, fails above {thresholds.share:.0%})"
        f"{excuse}{f'; {opinion.line}' if opinion else ''}",
        advice=" ".join([*advice, *([_ADVICE_OF_SECOND] if disagrees else [])]),
        figures=_figures(explanations, thresholds) | _figures_of(opinion),
    )


def _judge(share: ShareOfVector, explanations: Explanations, thresholds: Thresholds) -> Verdict:
    estimate = share.share_of_separation
    low, high = estimate.interval or (None, None)
    if estimate.value is not None:
        certain = low is not None and low > thresholds.share_warning
        if estimate.value > thresholds.share and certain:
            return "fail"
        if estimate.value > thresholds.share_warning:
            return "warn"
    baseline = explanations.baseline(share.name)
    is_known = estimate.value is not None and high is not None and high <= thresholds.share
    separates = baseline is not None and (baseline.accuracy.value or 0.0) > thresholds.accuracy
    return "warn" if separates and not is_known else "pass"


def _figures(explanations: Explanations, thresholds: Thresholds) -> Figures:
    figures: Figures = {
        "probe": explanations.probe_accuracy.value,
        "warns_above": thresholds.share_warning,
        "fails_above": thresholds.share,
    }
    for baseline in explanations.baselines:
        figures[f"{baseline.name}_accuracy"] = baseline.accuracy.value
        figures[f"{baseline.name}_auroc"] = baseline.auroc.value
    for share in explanations.shares:
        figures[f"{share.name}_share"] = share.share_of_separation.value
    figures["largest_dimensions_share"] = explanations.largest.share_of_vector
    if explanations.largest.without is not None:
        figures["auroc_without_largest_dimensions"] = explanations.largest.without.auroc.value
    return figures


def _percent(share: ShareOfVector) -> str:
    estimate = share.share_of_separation
    if estimate.value is None:
        return "unknown (it hardly varies within the poles)"
    if estimate.interval is None:
        return f"{estimate.value:.0%}"
    return f"{estimate.value:.0%} [{estimate.interval[0]:.0%}, {estimate.interval[1]:.0%}]"


def _figures_of(opinion: SecondOpinion | None) -> Figures:
    if opinion is None:
        return {}
    there, back = opinion.transfers
    return {
        "second_opinion": opinion.opinion,
        "auroc_on_second": there.auroc.value,
        "auroc_of_second": back.auroc.value,
    }
