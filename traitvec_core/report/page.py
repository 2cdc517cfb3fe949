"""The validation report of one trait: every number as JSON, and one self-contained page."""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pandas as pd
from markupsafe import Markup, escape

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.agreement import Agreement
from traitvec_core.report import pictures
from traitvec_core.report.answer import answer
from traitvec_core.report.environment import page_environment
from traitvec_core.report.first_screen import first_screen
from traitvec_core.report.key_figures import key_figures
from traitvec_core.report.page_script import PAGE_SCRIPT, PAGE_SCRIPT_HASH
from traitvec_core.stage_names import Stage
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.storage.manifests import (
    ActivationsManifest,
    JudgedResponsesManifest,
    Recommendation,
    StageManifest,
)
from traitvec_core.storage.provenance import Provenance
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.checks.agreement import measure_agreements
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.elicitation import Elicitation, keep_mask, summarise_responses
from traitvec_core.validation.evidence import HeldOutProjections, VectorEvidence
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.forecast import Forecast
from traitvec_core.validation.key_figure import KeyFigure
from traitvec_core.validation.manifests import VectorRow, VectorsManifest
from traitvec_core.validation.recommended_vector import RecommendedVector
from traitvec_core.validation.report_manifest import Answer
from traitvec_core.validation.second_opinion import SecondOpinion
from traitvec_core.validation.separation import Separation, SeparationScore, VectorCosine
from traitvec_core.validation.stability import Stability
from traitvec_core.validation.style_stress import StyleStress
from traitvec_core.validation.verdict import grade_checks, judge_vector
from traitvec_core.visible_text import visible

__all__ = ["Report", "ReportSources", "build_report", "sample_responses"]

# Longer responses are cut, so that the page opens at once.
_SHOWN_CHARS = 6000


@dataclass(frozen=True)
class ReportSources:
    """What a report is made from.

    Attributes:
        experiment: The experiment's name.
        trait: The trait's name.
        definition: The trait.
        settings: The experiment's settings.
        judged: Judged responses of both poles.
        judging: What `judged_responses` recorded.
        captured: What `activations` recorded.
        extracted: What `vectors` recorded.
        chosen: The recommended vector; None when none is.
        checks: Every check's result.
        opinion: The comparison with a second elicitation; None where there is none.
        no_opinion: Why there is none, where one was asked for.
        styles: Held-out figures after changes of style.
        steering: What the vectors do when they are added; None where that was not evaluated.
        steering_skipped: Why `steering.evaluate: auto` skipped that; None otherwise.
        root: Name of the folder of all experiments.
    """

    experiment: str
    trait: str
    definition: TraitDefinition
    settings: ExperimentSettings
    judged: pd.DataFrame
    judging: JudgedResponsesManifest
    captured: ActivationsManifest
    extracted: VectorsManifest
    chosen: RecommendedVector | None
    checks: Sequence[CheckResult]
    opinion: SecondOpinion | None = None
    no_opinion: str = ""
    styles: Sequence[StyleStress] = ()
    steering: SteeringEvaluation | None = None
    steering_skipped: str | None = None
    root: str = "experiments"


class ReportedProjections(HeldOutProjections):
    """Held-out projections with the response behind each."""

    question_ids: list[str]


class Report(StageManifest):
    """`validation/report.json`: every number of the page."""

    stage: ClassVar[Stage] = "validation_report"

    experiment: str
    trait: str
    model: str
    judge_model: str
    answer: Answer
    figures: list[KeyFigure]
    recommended: Recommendation | None
    recommended_by_separation: Recommendation | None
    checks: list[CheckResult]
    elicitation: Elicitation
    agreement: list[Agreement]
    missing_reasons: dict[str, dict[str, int]]
    held_out_projections: ReportedProjections | None
    separation: Separation
    explanations: Explanations | None
    chance: Chance
    forecast: Forecast
    stability: Stability | None
    cosines: list[VectorCosine]
    previous_cosines: list[VectorCosine]
    vectors: list[VectorRow]
    mean_norm_by_layer: list[float]
    second_opinion: SecondOpinion | None
    no_second_opinion: str
    style_stress: list[StyleStress]
    steering: SteeringEvaluation | None


def build_report(sources: ReportSources) -> tuple[str, Report]:
    """Build the report of one trait.

    Returns:
        The page as HTML, where the checks that fail come first, and the report.
    """
    settings, captured, extracted = sources.settings, sources.captured, sources.extracted
    elicited_by = settings.elicitation
    elicitation = summarise_responses(sources.judged, settings.response_filter, elicited_by)
    chosen = sources.chosen
    evidence = chosen.evidence if chosen else None
    # The responses stay the same at another threshold; the test of them does not.
    significance = settings.thresholds.significance
    steering = sources.steering.at(significance) if sources.steering else None
    score = chosen.score_in(extracted.separation) if chosen else None
    verdict, reasons = judge_vector(sources.checks)
    recommended = chosen.recommendation if chosen else None
    if recommended is not None:
        recommended = recommended.model_copy(update={"verdict": verdict, "reasons": reasons})
    report = Report(
        experiment=sources.experiment,
        trait=sources.trait,
        model=settings.model,
        judge_model=settings.judge_of(sources.trait),
        answer=answer(
            verdict,
            sources.checks,
            score,
            steering,
            settings.scale,
            elicited_by,
        ),
        recommended=recommended,
        recommended_by_separation=extracted.recommended,
        checks=list(sources.checks),
        elicitation=elicitation,
        agreement=measure_agreements(sources.judging.compared, settings.threshold),
        missing_reasons=sources.judging.missing_reasons,
        held_out_projections=_reported_projections(captured, evidence),
        separation=extracted.separation,
        explanations=evidence.explanations if evidence else None,
        chance=extracted.chance,
        forecast=extracted.forecast,
        stability=evidence.stability if evidence else None,
        cosines=extracted.cosines,
        previous_cosines=extracted.previous_cosines,
        vectors=extracted.vectors,
        mean_norm_by_layer=captured.mean_norm_by_layer,
        second_opinion=sources.opinion,
        no_second_opinion=sources.no_opinion,
        style_stress=list(sources.styles),
        figures=key_figures(
            recommended=recommended,
            score=score,
            separation=extracted.separation,
            explanations=evidence.explanations if evidence else None,
            not_read_again=captured.opposite_instruction,
            steering=steering,
            steering_skipped=sources.steering_skipped,
            elicited_by=elicited_by,
        ),
        steering=steering,
    )
    page = _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        definition=sources.definition,
        # Of scenarios, sentences on instructions are about openings.
        worded=partial(in_words_of, elicited_by),
        settings=settings,
        captured=captured,
        records=_records(sources.judging, captured, extracted),
        problems=[check for _, check in grade_checks(sources.checks)],
        passed=[
            check for check in sources.checks if check.verdict == "pass" and not check.accepted
        ],
        poles=[("positive", elicitation.positive), ("negative", elicitation.negative)],
        screen=first_screen(
            root=sources.root,
            experiment=sources.experiment,
            trait=sources.trait,
            recommended=recommended,
            figures=report.figures,
            checks=sources.checks,
            steering=steering,
        ),
        root=sources.root,
        script=Markup(PAGE_SCRIPT),  # noqa: S704
        script_hash=PAGE_SCRIPT_HASH,
        first_picture=pictures.first_picture(
            sources.judged, elicitation, captured, evidence, steering
        ),
        pictures={
            **pictures.of_scores(sources.judged, elicitation),
            **pictures.of_vectors(captured, extracted, evidence, settings.thresholds),
        },
        separation=extracted.separation,
        best=_best_rows(extracted),
        vector=chosen.row if chosen else None,
        samples=sample_responses(sources.judged, settings, per_pole=6),
        conditions=_conditions(steering, elicited_by),
        steering_skipped=sources.steering_skipped,
    )
    return page, report


def sample_responses(
    judged: pd.DataFrame, settings: ExperimentSettings, per_pole: int
) -> list[dict[str, Any]]:
    """Return a few responses of each pole, spread over the plan, with scores and whether kept."""
    frame = judged.assign(kept=keep_mask(judged, settings.response_filter))
    samples: list[dict[str, Any]] = []
    for pole in ("pos", "neg"):
        rows = frame[frame["pole"] == pole]
        step = max(1, len(rows) // per_pole)
        for row in rows.iloc[::step].head(per_pole).to_dict("records"):
            samples.append({str(key): value for key, value in row.items()})
    return samples


def _reported_projections(
    captured: ActivationsManifest, evidence: VectorEvidence | None
) -> ReportedProjections | None:
    if evidence is None:
        return None
    return ReportedProjections(
        **evidence.projections.model_dump(), question_ids=captured.question_ids
    )


def _best_rows(extracted: VectorsManifest) -> list[tuple[VectorRow, SeparationScore | None]]:
    """Each method's best layer by held-out effect size, with its held-out figures."""
    best: dict[str, VectorRow] = {}
    for row in extracted.vectors:
        size = row.held_out_effect_size
        kept = best.get(row.method)
        if kept is None or (size is not None and size > (kept.held_out_effect_size or 0)):
            best[row.method] = row
    return [(row, extracted.separation.of(row.method, row.layer)) for row in best.values()]


def _conditions(
    steering: SteeringEvaluation | None, elicited_by: ElicitedBy
) -> list[dict[str, Any]]:
    """The conditions of the steering table: every coefficient in order, then the controls."""
    if steering is None:
        return []
    doses = steering.dose_response or [steering.unsteered]
    shown = [
        (f"{dose.coefficient:+g}".replace("-", "−"), f"{dose.method} at layer {dose.layer}", dose)
        if dose.method
        else ("0", "unsteered", dose)
        for dose in doses
    ]
    prompts = in_words_of(elicited_by, "positive instructions, unsteered")
    shown += [("prompted", prompts, steering.prompted)]
    shown += [
        (f"random {number}", f"random direction {number} at layer {scores.layer}", scores)
        for number, scores in enumerate(steering.random, 1)
    ]
    first = steering.steered or doses[0]
    return [
        {**dict(scores), "tab": tab, "condition": condition, "is_first": scores is first}
        for tab, condition, scores in shown
    ]


def _records(*manifests: StageManifest) -> list[Provenance]:
    """How the stages were made, as far as that is recorded."""
    return [manifest.provenance for manifest in manifests if manifest.provenance is not None]


_ENVIRONMENT = page_environment()
_DOCS = re.compile(r"docs/([a-z_]+)\.md#([a-z\d-]+)")


def _number(value: float | None, digits: int = 2) -> str:
    """A missing number shows as a dash, never as 0."""
    if value is None or math.isnan(value):
        return "–"
    # Rounding never shows −0.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _with_interval(estimate: Estimate | None, digits: int = 2) -> str:
    """A value with its interval, where it has one."""
    if estimate is None:
        return "–"
    ends = estimate.interval
    interval = f" [{_number(ends[0], digits)}, {_number(ends[1], digits)}]" if ends else ""
    return _number(estimate.value, digits) + interval


def _clip(text: object) -> str:
    full = str(text)
    n_hidden = len(full) - _SHOWN_CHARS
    return full if n_hidden <= 0 else f"{full[:_SHOWN_CHARS]} … and {n_hidden} more characters"


def _link_docs(text: str) -> Markup:
    """Text with its places in the documentation, which are links where the page is served."""
    link = r'<a data-served="../../../../docs/\1.html#\2">\g<0></a>'
    return Markup(_DOCS.sub(link, str(escape(visible(text)))))  # noqa: S704


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


_ENVIRONMENT.filters |= {
    "number": _number,
    "with_interval": _with_interval,
    "clip": _clip,
    "data_uri": _data_uri,
    "link_docs": _link_docs,
}
