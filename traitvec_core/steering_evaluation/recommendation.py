"""The recommendation of a steering evaluation, and what speaks for and against it."""

from collections.abc import Sequence

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.steering_evaluation.result import Scores, SteeringEvaluation
from traitvec_core.steering_evaluation.search import Dose
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors.extract import TraitVector

__all__ = ["recommend_dose"]


def recommend_dose(
    evaluation: SteeringEvaluation,
    dose: Dose | None,
    vectors: Sequence[TraitVector],
    separation: Separation,
    elicited_by: ElicitedBy = "instructions",
) -> tuple[Recommendation | None, Recommendation | None]:
    """Return the dose that was tested, and what is recommended.

    A dose that steers is recommended. One that does not is no reason to prefer its vector, so then
    it is the vector that separates best, to monitor with.

    Args:
        evaluation: Everything that was measured; its own recommendation is not read.
        dose: The chosen dose; None when the search found none.
        vectors: The vectors to choose from.
        separation: Their held-out separation.
        elicited_by: What the prompted baseline's instructions are.
    """
    if dose is None:
        found_nothing = (
            f"steering found nothing: of {evaluation.test.n_trials} trials none raised the trait"
            f" score at a coherence of at least {evaluation.options.min_coherence:g}"
        )
        return None, _by_separation(found_nothing, vectors, separation, elicited_by)
    steered = next(s for s in evaluation.dose_response if s.coefficient == dose.coefficient)
    tested = Recommendation(
        method=dose.vector.method,
        layer=dose.vector.layer,
        coefficient=dose.coefficient,
        chosen_by="steering",
        why=_why(evaluation, dose, steered, elicited_by),
        added_norm=abs(dose.strength),
    )
    if evaluation.test.steers:
        return tested, tested
    not_shown = f"steering was not shown: {tested.why}"
    return tested, _by_separation(not_shown, vectors, separation, elicited_by)


def _by_separation(
    outcome: str,
    vectors: Sequence[TraitVector],
    separation: Separation,
    elicited_by: ElicitedBy,
) -> Recommendation | None:
    best = recommend(separation, [(v.method, v.layer) for v in vectors])
    if best is None:
        return None
    norm = next(v.relative_norm for v in vectors if (v.method, v.layer) == best.place)
    why = in_words_of(elicited_by, f"{best.why}; {outcome}")
    return best.model_copy(update={"why": why, "added_norm": abs(best.coefficient) * norm})


def _why(
    evaluation: SteeringEvaluation, dose: Dose, steered: Scores, elicited_by: ElicitedBy
) -> str:
    """What the chosen dose does on the held-out questions, and what speaks against it."""
    base, test = evaluation.unsteered, evaluation.test
    name = f"{dose.vector.method} at layer {dose.vector.layer}, coefficient {dose.coefficient:.3g}"
    origin = f"chosen by steering on other questions ({test.n_trials} trials)"
    before, after, effect = base.trait.value, steered.trait.value, test.effect
    if before is None or after is None or effect.value is None:
        why = "the held-out questions have no scores, so nothing shows that it works"
        return f"{name}: {origin}; {why}"
    ends = effect.interval
    interval = f", 95% interval {ends[0]:+.0f} to {ends[1]:+.0f}" if ends else ""
    parts = [
        f"{name} moves the trait score of held-out questions from {before:.0f} to {after:.0f}"
        f" ({effect.value:+.0f}{interval})"
    ]
    if steered.coherence.value is not None and base.coherence.value is not None:
        parts.append(
            f"coherence {steered.coherence.value:.0f} (unsteered {base.coherence.value:.0f})"
        )
    if test.random_mean is not None and test.random_best is not None:
        parts.append(
            f"{test.n_random} random directions of the same length move it by"
            f" {test.random_mean:+.0f} on average, the best by {test.random_best:+.0f}"
        )
    if evaluation.prompted.trait.value is not None:
        alone = in_words_of(elicited_by, "the positive instruction alone reaches")
        parts.append(f"{alone} {evaluation.prompted.trait.value:.0f}")
    parts.append(origin)
    return "; ".join([*parts, *test.objections(evaluation.options.min_coherence)])
