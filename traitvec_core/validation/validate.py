"""The whole verdict on a trait, from its activations: by the code that judges it in the graph."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from traitvec_core.experiment import ExperimentSettings, Thresholds, VectorMethod
from traitvec_core.storage.manifests import Recommendation, VectorVerdict
from traitvec_core.storage.vector_verdict import VERDICT_NAMES
from traitvec_core.validation.checks.accuracy import check_accuracy
from traitvec_core.validation.checks.chance import check_chance
from traitvec_core.validation.checks.confounds import check_confounds
from traitvec_core.validation.checks.norm import check_norm
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.stability import check_stability
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import split_examples
from traitvec_core.validation.labelled_activations import LabelledActivations
from traitvec_core.validation.measure_vectors import VectorMeasurements, measure_vectors
from traitvec_core.validation.response_counts import is_refusing
from traitvec_core.validation.separation import Separation
from traitvec_core.validation.verdict import judge_vector
from traitvec_core.vectors import MethodOptions
from traitvec_core.visible_text import visible

__all__ = ["DEFAULT_METHODS", "Validation", "check_vectors", "validate"]

DEFAULT_METHODS: tuple[VectorMethod, ...] = ExperimentSettings.model_fields["methods"].default

_NO_TEXTS = "confounds: not tested, because the texts of the responses are not known"


@dataclass(frozen=True, repr=False)
class Validation:
    """Whether the best vector of some activations can be used, and why. Prints as text.

    Attributes:
        verdict: `usable`, `with_care` or `not_usable`.
        reasons: What the verdict rests on and what was not tested, the gravest first.
        checks: Those that activations and texts allow: `accuracy`, `norm`, `chance`, `stability`,
            and `confounds` where the responses are known.
        separation: Held-out figures of every method and layer.
        recommended: The vector that was judged, with the same verdict; None when nothing could be
            held out.
    """

    verdict: VectorVerdict
    reasons: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    separation: Separation
    recommended: Recommendation | None

    def __repr__(self) -> str:
        """Return the verdict, its reasons, the vector and every check, one per line."""
        lines = [VERDICT_NAMES[self.verdict], *(f"  - {reason}" for reason in self.reasons)]
        lines.append(self.recommended.why if self.recommended else "no vector is recommended")
        lines += [f"  {each.verdict:<4}  {each.name}: {each.summary}" for each in self.checks]
        return visible("\n".join(lines), keep_lines=True)


def validate(
    activations: LabelledActivations,
    *,
    methods: Sequence[VectorMethod] | None = None,
    layers: Sequence[int] | None = None,
    thresholds: Thresholds | None = None,
) -> Validation:
    """Judge the vector that separates best on held-out questions, as the graph judges it.

    Separation does not prove that a vector steers: steer with it, and read the responses.

    Args:
        activations: Activations of both poles.
        methods: Methods to choose from; by default the four of an experiment. `probe` and the
            control `random` are always measured.
        layers: Layers to choose from; all by default. Layer 0, the embedding output, is always
            measured.
        thresholds: Of the checks; by default those of an experiment.
    """
    thresholds = thresholds or Thresholds()
    options = MethodOptions()
    measured = measure_vectors(
        _examples(activations, options.seed),
        list(activations.layers if layers is None else layers),
        DEFAULT_METHODS if methods is None else methods,
        options=options,
    )
    checks = check_vectors(measured, thresholds)
    verdict, reasons = judge_vector(checks)
    if activations.responses is None:
        reasons.append(_NO_TEXTS)
        # What nobody looked for is not absent.
        verdict = "with_care" if verdict == "usable" else verdict
    recommended = measured.recommended
    if recommended is not None:
        recommended = recommended.model_copy(update={"verdict": verdict, "reasons": reasons})
    return Validation(verdict, tuple(reasons), tuple(checks), measured.separation, recommended)


def check_vectors(
    measured: VectorMeasurements, thresholds: Thresholds, about: Collection[str] = ()
) -> list[CheckResult]:
    """Evaluate the checks that rest on activations and texts, on the recommended vector.

    `confounds` is left out where the texts of the responses are not known.

    Args:
        measured: The measurements.
        thresholds: Of the checks.
        about: What the trait is about, by its definition.
    """
    chosen, evidence = measured.recommended, measured.evidence
    place = chosen.place if chosen else None
    vector = next((v for v in measured.vectors if (v.method, v.layer) == place), None)
    chance_norm = measured.chance_norms.get(place) if place else None
    checks = [
        check_norm(vector, chance_norm, thresholds.norm),
        check_accuracy(
            measured.separation, [each.train_accuracy for each in measured.vectors], thresholds
        ),
        check_chance(measured.chance, place, significance=thresholds.significance),
        check_stability(evidence.stability if evidence else None, cosine=thresholds.stability),
    ]
    if evidence is None or evidence.explanations is not None:
        explanations = evidence.explanations if evidence else None
        checks.insert(2, check_confounds(explanations, thresholds, about))
    return checks


def _examples(activations: LabelledActivations, seed: int) -> LabelledExamples:
    texts = activations.responses
    return LabelledExamples(
        activations=activations.values,
        split=split_examples(
            activations.is_positive, activations.questions, activations.instructions, seed
        ),
        responses=texts,
        is_refusal=None if texts is None else [is_refusing(text) for text in texts],
        opposite=activations.opposite,
    )
