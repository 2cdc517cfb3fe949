"""The whole verdict on a trait, from its activations: by the code that judges it in the graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.experiment import ExperimentSettings, Thresholds, VectorMethod
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation, VectorVerdict
from traitvec_core.storage.vector_verdict import VERDICT_NAMES
from traitvec_core.validation.checks.accuracy import check_accuracy
from traitvec_core.validation.checks.chance import check_chance
from traitvec_core.validation.checks.confounds import check_confounds
from traitvec_core.validation.checks.norm import check_norm
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.stability import check_stability
from traitvec_core.validation.labelled_activations import LabelledActivations
from traitvec_core.validation.manifests import VectorRow
from traitvec_core.validation.measure_vectors import (
    Examples,
    VectorMeasurements,
    measure_vectors,
)
from traitvec_core.validation.separation import Separation
from traitvec_core.validation.verdict import judge_vector

__all__ = ["Validation", "validate"]

_NO_TEXTS = "confounds: not tested, because the texts of the responses are not known"
_NOT_STEERED = "steering: not tested; activations alone do not show that the vector steers"


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
        return "\n".join(lines)


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
    given = {"methods": methods, "layers": layers, "thresholds": thresholds}
    settings = ExperimentSettings.model_validate(
        # No model is loaded and nothing is judged; only the methods' settings count here.
        {"model": EMBEDDED_MODEL, "judge_model": EMBEDDED_MODEL}
        | {name: value for name, value in given.items() if value is not None}
    )
    measured = measure_vectors(_examples(activations), settings, on_layer=lambda layer: None)
    checks = _checks(activations, measured, settings)
    verdict, reasons = judge_vector(checks)
    if activations.responses is None:
        reasons.append(_NO_TEXTS)
        # What nobody looked for is not absent.
        verdict = "with_care" if verdict == "usable" else verdict
    reasons.append(_NOT_STEERED)
    recommended = measured.recommended
    if recommended is not None:
        recommended = recommended.model_copy(update={"verdict": verdict, "reasons": reasons})
    return Validation(verdict, tuple(reasons), tuple(checks), measured.separation, recommended)


def _examples(activations: LabelledActivations) -> Examples:
    """The activations as the stage reads them: positives first, one id per row."""
    is_positive = np.asarray(activations.is_positive, bool)
    order = np.argsort(~is_positive, kind="stable")
    questions = np.unique(activations.questions, return_inverse=True)[1]
    instructions = activations.instructions
    if instructions is None:
        instructions = np.zeros(len(order), np.int64)
    ids = [
        f"{activations.trait}_{questions[row]}_{'pos' if is_positive[row] else 'neg'}"
        f"_{instructions[row]}_{number}"
        for number, row in enumerate(order)
    ]
    texts = activations.responses
    values = activations.values[order]
    n_examples, n_layers, hidden_dim = values.shape
    manifest = ActivationsManifest(
        model=activations.model,
        n_examples=n_examples,
        n_layers=n_layers,
        hidden_dim=hidden_dim,
        threshold=np.nan,
        extraction_date="",
        dtype=str(values.dtype).removeprefix("torch."),
        position="",
        min_coherence=np.nan,
        n_positive=int(is_positive.sum()),
        n_negative=int((~is_positive).sum()),
        mean_norm_by_layer=[],
        question_ids=ids,
    )
    judged = None
    if texts is not None:
        judged = pd.DataFrame({"question_id": ids, "response": [texts[row] for row in order]})
    return Examples(manifest, values, judged)


def _checks(
    activations: LabelledActivations, measured: VectorMeasurements, settings: ExperimentSettings
) -> list[CheckResult]:
    thresholds, chosen = settings.thresholds, measured.recommended
    place = chosen.place if chosen else None
    stability = next((s for s in measured.stability if (s.method, s.layer) == place), None)
    checks = [
        check_accuracy(
            measured.separation, [vector.train_accuracy for vector in measured.vectors], thresholds
        ),
        check_norm(_row(activations, measured, settings), thresholds.norm),
        check_chance(measured.chance, significance=thresholds.significance),
        check_stability(stability, cosine=thresholds.stability),
    ]
    if activations.responses is not None:
        by_instruction = None
        if activations.instructions is not None and len(np.unique(activations.instructions)) > 1:
            by_instruction = measured.separation_by_instruction
        checks.append(
            check_confounds(measured.explanations, by_instruction, accuracy=thresholds.accuracy)
        )
    return checks


def _row(
    activations: LabelledActivations, measured: VectorMeasurements, settings: ExperimentSettings
) -> VectorRow | None:
    chosen = measured.recommended
    if chosen is None:
        return None
    vector = next(v for v in measured.vectors if (v.method, v.layer) == chosen.place)
    n_positive = int(np.sum(activations.is_positive))
    return VectorRow(
        trait=activations.trait,
        method=vector.method,
        layer=vector.layer,
        model=activations.model,
        vector_norm=vector.vector_norm,
        train_accuracy=vector.train_accuracy,
        extraction_date="",
        raw_norm=vector.raw_norm,
        relative_norm=vector.relative_norm,
        separation=vector.separation,
        scale=settings.scale,
        n_positive=n_positive,
        n_negative=len(activations.is_positive) - n_positive,
    )
