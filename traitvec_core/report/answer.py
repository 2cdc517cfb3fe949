"""The answer that a report opens with: can I use this vector, which one, how strong?"""

from collections.abc import Sequence

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.estimate import Estimate
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.validation.checks.result import CheckResult, Verdict
from traitvec_core.validation.report_manifest import Answer
from traitvec_core.validation.separation import SeparationScore

__all__ = ["answer"]


def answer(
    verdict: VectorVerdict,
    checks: Sequence[CheckResult],
    vector: SeparationScore | None,
    steering: SteeringEvaluation | None,
    scale: str = "separation",
    elicited_by: ElicitedBy = "instructions",
) -> Answer:
    """Answer from the checks and from the steering evaluation.

    Args:
        verdict: The verdict on the recommended vector.
        checks: Every check's result.
        vector: Held-out figures of the recommended vector; None without one.
        steering: What steering did; None where it was not evaluated.
        scale: The length of the vectors; see `ExperimentSettings.scale`.
        elicited_by: What elicited the trait.
    """
    # A vector that is not usable is still named, but not recommended.
    take = "the best candidate would be" if verdict == "not_usable" else "take"
    sentences = [
        *_doubts(checks),
        in_words_of(elicited_by, _which(vector, take)),
        _how_strong(steering, vector, scale, take),
        *(steering.notes if steering else ()),
    ]
    return Answer(
        verdict=_COLOURS[verdict],
        headline=_headline(verdict, checks, steering),
        text=" ".join(_sentence(text) for text in sentences if text),
    )


_COLOURS: dict[VectorVerdict, Verdict] = {
    "usable": "pass",
    "with_care": "warn",
    "not_usable": "fail",
}


def _headline(
    verdict: VectorVerdict, checks: Sequence[CheckResult], steering: SteeringEvaluation | None
) -> str:
    """What it is good for; whether it can be used at all is the verdict's to say."""
    if not checks:
        return "Unknown: no check was evaluated."
    if verdict == "not_usable":
        return "Not as it stands."
    if steering is None:
        return "To monitor; whether it steers has not been tested."
    if not steering.test.steers:
        return "To monitor; it is not shown to steer."
    return "To steer and to monitor."


def _doubts(checks: Sequence[CheckResult]) -> list[str]:
    doubts = []
    for verdict, verb in (("fail", "failed"), ("warn", "warned")):
        chosen = [check for check in checks if check.verdict == verdict]
        if chosen:
            doubts.append(f"{len(chosen)} of {len(checks)} checks {verb}")
            doubts += [f"{check.name}: {check.summary}" for check in chosen]
    accepted = [f"{check.name}: {check.summary}" for check in checks if check.accepted]
    if accepted and not doubts:
        doubts.append(f"All {len(checks)} checks pass")
    doubts += accepted
    return doubts or ([f"All {len(checks)} checks pass"] if checks else [])


def _which(vector: SeparationScore | None, take: str) -> str:
    if vector is None:
        return "No vector can be recommended: nothing could be held out"
    return (
        f"To monitor, {take} {vector.method} at layer {vector.layer}: on questions and instructions"
        " that it has not seen it separates the poles with an effect size of"
        f" {vector.effect_size.format('.2f')}, AUROC {_number(vector.auroc, 3)}"
    )


def _how_strong(
    steering: SteeringEvaluation | None, vector: SeparationScore | None, scale: str, take: str
) -> str:
    if steering is None:
        unit = (
            "Coefficient 1 adds the poles' own distance along the vector, which is only a starting"
            " point for a search"
            if scale == "separation"
            else f"Coefficient 1 adds the vector at its own length (scale: {scale})"
        )
        return f"How strong is unknown: steering was not evaluated. {unit}" if vector else ""
    chosen, steered = steering.tested, steering.steered
    if chosen is None or steered is None or steered.trait.value is None:
        return "To steer, nothing can be recommended: no dose raised the trait and stayed coherent"
    parts = [
        f"To steer, {take} {chosen.method} at layer {chosen.layer} with coefficient"
        f" {chosen.coefficient:g}: on held-out questions it moves the trait score by"
        f" {_moved_by(steered.trait_moved)} to {steered.trait.value:.0f}, with coherence"
        f" {_number(steered.coherence, 0)} instead of {_number(steering.unsteered.coherence, 0)}"
    ]
    test = steering.test
    if test.bound is not None and test.random_mean is not None:
        parts.append(
            f"{test.n_random} random directions of the same length move it by"
            f" {_signed(test.random_mean)} on average (SD {test.random_sd:.0f}), and the best of"
            f" {test.n_trials} would reach {_signed(test.bound)}"
        )
    if steering.prompted.trait.value is not None:
        parts.append(f"prompting alone reaches {steering.prompted.trait.value:.0f}")
    text = "; ".join(parts)
    if not test.steers:
        text += f". So it is not shown that the vector steers: {'; '.join(test.objections())}"
    if steering.unfinished:
        text += ". Judgements are still missing, and the choice may change"
    return text


def _moved_by(moved: Estimate) -> str:
    return moved.format("+.0f").replace("-", "−")


def _signed(number: float) -> str:
    return f"{number:+.0f}".replace("-", "−")


def _number(estimate: Estimate, digits: int) -> str:
    return "–" if estimate.value is None else f"{estimate.value:.{digits}f}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
