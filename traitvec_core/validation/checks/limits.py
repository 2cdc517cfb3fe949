"""Where each check passes, warns and fails, in words, as the settings have it."""

from collections.abc import Callable

from traitvec_core.experiment import CheckName, ExperimentSettings, NormThreshold

__all__ = ["describe_limits"]


def describe_limits(name: CheckName, settings: ExperimentSettings) -> str:
    """Return a check's limits and the settings that hold them; empty for one without settings."""
    describe = _LIMITS.get(name)
    sentences = [describe(settings)] if describe is not None else []
    severity = settings.severities.get(name)
    if severity == "warn":
        sentences.append(f"What fails only warns (severities.{name}).")
    elif severity == "error":
        sentences.append(f"What would warn fails (severities.{name}).")
    return " ".join(sentences)


def _contrast(settings: ExperimentSettings) -> str:
    limits = settings.thresholds
    return (
        f"Passes above {limits.contrast:g}, warns from {limits.contrast_warning:g}"
        " (thresholds.contrast, thresholds.contrast_warning)."
    )


def _coverage(settings: ExperimentSettings) -> str:
    return (
        f"Kept: positives with a trait score from {settings.threshold:g}, negatives below, both"
        f" with coherence from {settings.min_coherence:g} (threshold, min_coherence)."
    )


def _agreement(settings: ExperimentSettings) -> str:
    return (
        f"Passes from {settings.thresholds.agreement:.0%} of the sample on the same side of"
        f" {settings.threshold:g}, else warns (thresholds.agreement, threshold)."
    )


def _norm(settings: ExperimentSettings) -> str:
    limit: NormThreshold = settings.thresholds.norm
    unit = {
        "chance": "times the norm under swapped labels",
        "absolute": "in activation units",
        "relative": "of the mean activation norm",
    }[limit.kind]
    inside = (
        f"from {limit.minimum:g}"
        if limit.maximum is None
        else f"from {limit.minimum:g} to {limit.maximum:g}"
    )
    return f"Passes {inside} {unit} (thresholds.norm)."


def _accuracy(settings: ExperimentSettings) -> str:
    return (
        f"Passes above a balanced accuracy of {settings.thresholds.accuracy:g}, warns within about"
        " a standard error below (thresholds.accuracy)."
    )


def _confounds(settings: ExperimentSettings) -> str:
    limits = settings.thresholds
    return (
        f"Warns above {limits.share_warning:.0%} of the separation, fails above {limits.share:.0%}"
        " (thresholds.share_warning, thresholds.share)."
    )


def _chance(settings: ExperimentSettings) -> str:
    return f"Passes up to p = {settings.thresholds.significance:g} (thresholds.significance)."


def _stability(settings: ExperimentSettings) -> str:
    return f"Passes from a cosine of {settings.thresholds.stability:g} (thresholds.stability)."


def _steering(settings: ExperimentSettings) -> str:
    limits = settings.thresholds
    return (
        f"Passes up to p = {limits.significance:g}, warns above {limits.wrong_way:.0%} of questions"
        " moved the wrong way (thresholds.significance, thresholds.wrong_way)."
    )


_LIMITS: dict[CheckName, Callable[[ExperimentSettings], str]] = {
    "contrast": _contrast,
    "coverage": _coverage,
    "agreement": _agreement,
    "norm": _norm,
    "accuracy": _accuracy,
    "confounds": _confounds,
    "chance": _chance,
    "stability": _stability,
    "steering": _steering,
}
