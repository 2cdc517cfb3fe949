"""What a reader asks first: can I use this vector, which one, how strong?"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from traitvec_core.steering_evaluation.result import Interval, Scores, SteeringEvaluation
from traitvec_core.validation.checks import CheckResult

__all__ = ["Answer", "answer"]


class Answer(BaseModel):
    """The paragraph that a report opens with.

    Attributes:
        verdict: As that of a check, over everything.
        headline: The answer in a few words.
        text: What speaks against it first, then which vector and how strong.
    """

    verdict: Literal["pass", "warn", "fail"]
    headline: str
    text: str


def answer(
    checks: Sequence[CheckResult],
    vector: dict[str, Any] | None,
    steering: SteeringEvaluation | None,
    scale: str = "separation",
) -> Answer:
    """Answer from the checks, and from what steering did.

    Args:
        checks: Every check's verdict.
        vector: Metadata of the vector that separates best; None without one.
        steering: What steering did; None where it was not tried.
        scale: How long the vectors are; see `ExperimentSettings.scale`.
    """
    verdict, headline = _headline(checks, steering)
    # What failed is not recommended, but still said.
    take = "the best of what there is would be" if verdict == "fail" else "take"
    sentences = [
        *_doubts(checks),
        _which(vector, take),
        _how_strong(steering, vector, scale, take),
        *(steering.notes if steering else ()),
    ]
    return Answer(
        verdict=verdict,
        headline=headline,
        text=" ".join(_sentence(text) for text in sentences if text),
    )


def _headline(
    checks: Sequence[CheckResult], steering: SteeringEvaluation | None
) -> tuple[Literal["pass", "warn", "fail"], str]:
    verdicts = {check.verdict for check in checks}
    if not checks:
        return "fail", "Not known: no check was evaluated."
    if "fail" in verdicts:
        return "fail", "Not as it stands."
    if steering is not None and not _is_shown_to_steer(steering):
        return "warn", "Not to steer with; to monitor, with care."
    if "warn" in verdicts:
        return "warn", "With care."
    if steering is None:
        return "pass", "Yes, to monitor. Whether it steers has not been tested."
    return "pass", "Yes."


def _is_shown_to_steer(steering: SteeringEvaluation) -> bool:
    """Whether the chosen dose moves the trait for certain, and further than chance directions."""
    moved = _moved(steering)
    if moved is None or moved.low <= 0:
        return False
    return steering.random_moved is None or moved.low > steering.random_moved.mean


def _moved(steering: SteeringEvaluation) -> Interval | None:
    return steering.steered.trait_moved if steering.steered else None


def _doubts(checks: Sequence[CheckResult]) -> list[str]:
    doubts = []
    for verdict, says in (("fail", "failed"), ("warn", "warned")):
        found = [check for check in checks if check.verdict == verdict]
        if found:
            doubts.append(f"{len(found)} of {len(checks)} checks {says}")
            doubts += [f"{check.name}: {check.summary}" for check in found]
    return doubts or ([f"All {len(checks)} checks pass"] if checks else [])


def _which(vector: dict[str, Any] | None, take: str) -> str:
    if vector is None:
        return "No vector can be recommended: nothing could be held out"
    ends = (vector.get("held_out_intervals") or {}).get("effect_size", (None, None))
    span = "" if None in ends else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
    size, auroc = vector["held_out_effect_size"], vector["held_out_auroc"]
    return (
        f"To monitor, {take} {_name(vector)}: on questions that it has not seen it separates the"
        f" poles with an effect size of {_number(size, 2)}{span}, AUROC {_number(auroc, 3)}"
    )


def _how_strong(
    steering: SteeringEvaluation | None, vector: dict[str, Any] | None, scale: str, take: str
) -> str:
    if steering is None:
        unit = (
            "Coefficient 1 adds the poles' own distance along the vector, which is only where a"
            " search begins"
            if scale == "separation"
            else f"Coefficient 1 adds the vector at its own length (scale: {scale})"
        )
        return f"How strong is not known: steering was not evaluated. {unit}" if vector else ""
    chosen, steered = steering.recommendation, steering.steered
    if chosen is None or steered is None or steered.trait is None:
        return "To steer, nothing can be recommended: no dose did what was asked of it"
    moved, random = steered.trait_moved, steering.random_moved
    parts = [
        f"To steer, {take} {_name(chosen.model_dump())} with coefficient {chosen.coefficient:g}: on"
        f" held-out questions it moves the trait score by {_moved_by(moved)} to"
        f" {steered.trait.mean:.0f}, with coherence {_mean(steered)} instead of"
        f" {_mean(steering.unsteered)}"
    ]
    if random is not None:
        parts.append(f"random directions of the same length move it by {_moved_by(random)}")
    if steering.prompted.trait is not None:
        parts.append(f"prompting alone reaches {steering.prompted.trait.mean:.0f}")
    text = "; ".join(parts)
    if not _is_shown_to_steer(steering):
        text += ". So it is not shown that the vector steers"
    if steering.unfinished:
        text += ". Judgements are still missing, and the choice may change"
    return text


def _name(vector: dict[str, Any]) -> str:
    return f"{vector['method']} at layer {vector['layer']}"


def _moved_by(moved: Interval | None) -> str:
    if moved is None:
        return "–"
    return f"{moved.mean:+.0f} [{moved.low:+.0f}, {moved.high:+.0f}]".replace("-", "−")


def _mean(scores: Scores) -> str:
    return _number(scores.coherence.mean if scores.coherence else None, 0)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
