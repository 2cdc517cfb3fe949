"""The four figures that a report opens with, from everything that was measured."""

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.estimate import Estimate
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.key_figure import KeyFigure
from traitvec_core.validation.separation import Separation, SeparationScore

__all__ = ["key_figures"]

_STEERING_OFF = "steering.evaluate is off in experiment.yaml"


def key_figures(
    *,
    recommended: Recommendation | None,
    score: SeparationScore | None,
    separation: Separation,
    explanations: Explanations | None,
    not_read_again: str,
    steering: SteeringEvaluation | None,
    steering_skipped: str | None,
    elicited_by: ElicitedBy = "instructions",
) -> list[KeyFigure]:
    """Return the effect on the trait and on coherence, accuracy and the instruction's share.

    A figure that was not measured has no value and says why.

    Args:
        recommended: The recommended vector; None when none is.
        score: Its held-out figures; None when nothing was held out.
        separation: What was held out, and the probe.
        explanations: What else explains its separation; None when nothing could.
        not_read_again: Why responses were not read under the opposite instruction; empty if they
            were.
        steering: What steering did; None where it was not evaluated.
        steering_skipped: Why `steering.evaluate: auto` skipped it; None otherwise.
        elicited_by: What elicited the trait.
    """
    figures = [
        *_of_steering(recommended, steering, steering_skipped),
        _accuracy(score, separation),
        _instruction_share(explanations, not_read_again),
    ]
    return [
        figure.model_copy(
            update={
                "label": in_words_of(elicited_by, figure.label),
                "missing": in_words_of(elicited_by, figure.missing),
            }
        )
        for figure in figures
    ]


def _of_steering(
    recommended: Recommendation | None, steering: SteeringEvaluation | None, skipped: str | None
) -> tuple[KeyFigure, KeyFigure]:
    trait = KeyFigure(name="trait_moved", label="trait score when steered")
    coherence = KeyFigure(name="coherence_moved", label="coherence when steered")
    steered = steering.steered if steering else None
    if steering is None or steering.tested is None or steered is None:
        if steering is not None:
            missing, why = "no dose raised the trait and stayed coherent", ""
        else:
            # What stands in brackets are figures, which the check has too.
            missing, why = "steering was not evaluated", (skipped or _STEERING_OFF).split(" (")[0]
        return (
            trait.model_copy(update={"missing": f"{missing}: {why}" if why else missing}),
            coherence.model_copy(update={"missing": missing}),
        )
    tested, test = steering.tested, steering.test
    beside = [f"prompting {_signed(steering.prompted.trait_moved.value)}"]
    if test.random_best is not None:
        beside.append(f"best random direction {_signed(test.random_best)}")
    if test.bound is not None:
        beside.append(f"chance up to {_signed(test.bound)}")
    if recommended is None or recommended.place != tested.place:
        beside.append(f"tested with {_dose(tested)}, not the recommended vector")
    after, before = steered.coherence.value, steering.unsteered.coherence.value
    moved = {"estimate": steered.trait_moved, "beside": "; ".join(beside)}
    cost = {
        "estimate": steered.coherence_moved,
        "beside": f"{_whole(after)} instead of {_whole(before)}, of 100",
    }
    return (
        trait.model_copy(update=_or_missing(moved, steered.trait_moved)),
        coherence.model_copy(update=_or_missing(cost, steered.coherence_moved)),
    )


def _or_missing(update: dict[str, object], estimate: Estimate) -> dict[str, object]:
    missing = "the judge gave no scores" if estimate.value is None else ""
    return {**update, "missing": missing}


def _accuracy(score: SeparationScore | None, separation: Separation) -> KeyFigure:
    unseen = "questions and instructions" if (separation.n_pairs or 0) > 1 else "questions"
    label = f"accuracy on unseen {unseen}"
    if score is None or score.accuracy.value is None:
        missing = "there are too few questions or instruction pairs to hold some out"
        return KeyFigure(name="accuracy", label=label, missing=missing)
    probe = separation.probe_accuracy.value
    beside = "chance 0.5" + ("" if probe is None else f"; a probe {probe:.3f}")
    return KeyFigure(name="accuracy", label=label, estimate=score.accuracy, beside=beside)


def _instruction_share(explanations: Explanations | None, not_read_again: str) -> KeyFigure:
    label = "instruction’s share of the separation"
    share = explanations.share("instruction") if explanations else None
    if share is not None and share.share_of_separation.value is not None:
        return KeyFigure(
            name="instruction_share",
            label=label,
            estimate=share.share_of_separation,
            beside="the rest follows the response itself",
        )
    if explanations is None:
        missing = "nothing could be held out"
    elif share is not None:
        missing = "the poles do not separate, so there is nothing to share out"
    else:
        missing = not_read_again or "responses were not read under the opposite instruction"
    return KeyFigure(name="instruction_share", label=label, missing=missing)


def _dose(chosen: Recommendation) -> str:
    return f"{chosen.method} at layer {chosen.layer}, coefficient {chosen.coefficient:.3g}"


def _signed(number: float | None) -> str:
    return "–" if number is None else f"{number:+z.0f}".replace("-", "−")


def _whole(number: float | None) -> str:
    return "–" if number is None else f"{number:.0f}"
