"""The checks on vectors that ask whether they are what they seem: confounds, chance, stability.

A check that has nothing to test fails; it does not pass.
"""

from collections.abc import Sequence

from traitvec_core.validation.chance import Chance
from traitvec_core.validation.checks import CheckResult
from traitvec_core.validation.explanations import Baseline, Explanations
from traitvec_core.validation.resampling import Stability
from traitvec_core.validation.separation import Separation, VectorCosine

__all__ = ["check_chance", "check_confounds", "check_stability"]

_Figures = dict[str, float | int | str | None]

# With more dimensions than examples, vectors of pure noise have a cosine of √½ = 0.71 (mean_diff)
# to 0.79 (probe, gradient) with those of a bootstrap resample, which repeats the same noise.
_NOISE_COSINE = 0.8

_LOOK_AT = {
    "length": "read long positives beside short negatives (or the other way round), ask for one"
    " length in the instructions or cap max_new_tokens, and extract again; if the trait is about"
    " length, this is as it should be",
    "refusal": "read the refusals: the vector may stand for refusing, not for the trait; drop them,"
    " or reword the instructions; if the trait is about refusing, this is as it should be",
    "words": "look for stock phrases and formats that one pole repeats, and vary the instructions;"
    " a trait that consists in wording is told by its words",
    "embeddings": "the model's layers add nothing to the tokens themselves at this position; look"
    " for the same stock phrases, and compare steering before you trust the vector",
    "instructions": "the vectors may stand for these wordings; write instruction pairs that differ"
    " more from one another, and see which pair fails by itself",
}


def check_confounds(
    explanations: Explanations | None,
    by_instruction: Separation | None = None,
    *,
    accuracy: float = 0.9,
) -> CheckResult:
    """Whether something simpler than the trait tells the poles apart.

    Warns when

    - one threshold on length, or refusing, does so by itself: as accurately as the accuracy check
      asks of the probe, or as the probe does;
    - a bag of words, or the probe at the embeddings, does as well as the probe;
    - the probe, at its best layer, falls short of the accuracy check on instruction pairs that it
      has not seen.

    "As well" means that the probe's advantage is not above 0 in 97.5% of the draws of questions. It
    never fails on what it finds: verbosity is about length, slang is about words, and no figure
    tells such a trait from a confounded one. A person has to look, and the advice says at what.

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
    figures: _Figures = {"probe": probe, "one_number_warns_above": accuracy}
    doubts: dict[str, str] = {}
    for baseline in explanations.baselines:
        reached = baseline.accuracy.value
        figures[f"{baseline.name}_accuracy"] = reached
        figures[f"{baseline.name}_auroc"] = baseline.auroc.value
        figures[f"probe_over_{baseline.name}"] = baseline.probe_advantage.value
        if _explains(baseline, accuracy):
            doubts[baseline.name] = f"{_CALLED[baseline.name]} {_percent(reached)}"
    for share in explanations.shares:
        figures[f"{share.name}_share_of_separation"] = share.share_of_separation.value
        figures[f"{share.name}_correlation"] = share.correlation.value
    figures["largest_dimensions_share"] = explanations.largest.share_of_vector
    if explanations.largest.without is not None:
        figures["auroc_without_largest_dimensions"] = explanations.largest.without.auroc
    if by_instruction is not None and by_instruction.probe_accuracy is not None:
        carried = by_instruction.probe_accuracy
        figures["probe_on_new_instructions"] = carried
        # Where the probe does badly on new questions too, the accuracy check says so.
        if carried <= accuracy < probe:
            doubts["instructions"] = f"the probe on new instructions only {_percent(carried)}"
    against = f"(the probe on new questions: {_percent(probe)})"
    if not doubts:
        best = max(explanations.baselines, key=lambda found: found.accuracy.value or 0.0)
        return CheckResult(
            name="confounds",
            verdict="pass",
            summary="nothing simpler tells the poles apart as well; closest is"
            f" {_CALLED[best.name]} {_percent(best.accuracy.value)} {against}",
            figures=figures,
        )
    return CheckResult(
        name="confounds",
        verdict="warn",
        summary=f"held-out accuracy of other explanations: {'; '.join(doubts.values())} {against}",
        advice=" ".join(f"{name.capitalize()}: {_LOOK_AT[name]}." for name in doubts),
        figures=figures,
    )


def check_chance(chance: Chance | None, *, significance: float = 0.05) -> CheckResult:
    """Whether the vectors beat label permutations and random directions.

    Both p-values are corrected over layers and methods, and both must reach the significance; so
    pure noise passes in at most that share of traits.

    Args:
        chance: From `measure_chance`; None or untested fails.
        significance: Largest p-value that passes.
    """
    if chance is None or chance.permutation_p_value is None or chance.random_p_value is None:
        why = (chance.untested if chance else "") or "nothing was held against chance"
        return CheckResult(
            name="chance",
            verdict="fail",
            summary=why,
            advice="Labels are permuted within questions: questions are needed whose responses are"
            " kept on both poles. See `coverage`.",
        )
    best = min(chance.scores, key=lambda score: (score.corrected_p_value, -score.auroc))
    figures: _Figures = {
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
    summary = (
        f"p = {chance.permutation_p_value:.3g} against {chance.n_permutations} label permutations"
        f" and {chance.random_p_value:.3g} against {chance.n_random} draws of random directions,"
        f" over all layers and methods (passes up to {significance:g})"
    )
    if beats_labels and beats_random:
        return CheckResult(name="chance", verdict="pass", summary=summary, figures=figures)
    if (chance.smallest_p_value or 0.0) > significance:
        advice = (
            "With so few responses whose question is kept on both poles, no result could reach"
            " this p-value; raise n_examples or add questions."
        )
    elif beats_labels:
        advice = (
            "The poles differ, but random directions tell them apart as well: the difference is in"
            " most directions at once (a shift of the whole activation, often by length or format)."
            " See `confounds`."
        )
    else:
        advice = (
            "Made-up labels do as well as the real ones: the responses differ too little, or are"
            " too few. Look at `contrast` first, then raise n_examples."
        )
    return CheckResult(
        name="chance", verdict="fail", summary=summary, advice=advice, figures=figures
    )


def check_stability(
    stability: Stability | None,
    previous: Sequence[VectorCosine] = (),
    *,
    cosine: float = 0.9,
) -> CheckResult:
    """Whether the recommended vector would be the same from other questions, and is as before.

    Passes when the mean cosine with vectors from resampled questions, and that with the previous
    materialization if there is one, are at least `cosine`; fails when the first is no better than
    for noise; warns in between. A change since the last time only warns: it may be wished.

    Args:
        stability: From `bootstrap_stability` for the recommended method and layer; None fails.
        previous: From `cosines_with_previous`, of any methods and layers.
        cosine: What passes.
    """
    if stability is None:
        return CheckResult(
            name="stability",
            verdict="fail",
            summary="no vector is recommended, so there is none whose stability could be measured",
            advice="Without held-out questions nothing can be recommended; see `accuracy`.",
        )
    before = next(
        (
            found.cosine
            for found in previous
            if (found.method, found.layer) == (stability.method, stability.layer)
        ),
        None,
    )
    figures: _Figures = {
        "bootstrap_cosine": stability.mean,
        "bootstrap_low": stability.low,
        "bootstrap_high": stability.high,
        "n_resamples": stability.n_resamples,
        "previous_cosine": before,
        "passes_from": cosine,
        "noise_below": _NOISE_COSINE,
    }
    against = "no previous one" if before is None else f"{before:.3f} with the previous one"
    summary = (
        f"cosine of {stability.method} at layer {stability.layer} with vectors from resampled"
        f" questions {stability.mean:.3f} [{stability.low:.3f}, {stability.high:.3f}]; {against}"
        f" (passes from {cosine:g})"
    )
    advice = []
    if not stability.mean >= cosine:
        advice.append(
            "A few questions decide the direction: add questions or raise n_examples, or take"
            " mean_diff, which varies least."
        )
    if before is not None and not before >= cosine:
        advice.append(
            "The vector is another one than last time: compare the definition, the judge and the"
            " settings of both runs, and steer with it again before you rely on old coefficients."
        )
    is_noise = not stability.mean >= _NOISE_COSINE
    return CheckResult(
        name="stability",
        verdict="fail" if is_noise else "warn" if advice else "pass",
        summary=summary,
        advice=" ".join(advice),
        figures=figures,
    )


_CALLED = {
    "length": "one threshold on length",
    "refusal": "refusing",
    "words": "a bag of words",
    "embeddings": "the probe at the embeddings (layer 0)",
}


def _explains(baseline: Baseline, accuracy: float) -> bool:
    """Whether a baseline explains what the probe tells apart."""
    is_one_number = baseline.name in {"length", "refusal"}
    if is_one_number and (baseline.accuracy.value or 0.0) > accuracy:
        return True
    return not (baseline.probe_advantage.low or 0.0) > 0


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1%}"
