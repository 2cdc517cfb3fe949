"""The validation report of one trait: every number as JSON, and one self-contained page."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.report import plots, plots_of_steering, plots_of_vectors
from traitvec_core.report.answer import answer
from traitvec_core.report.environment import page_environment
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.checks import CheckResult
from traitvec_core.validation.elicitation import (
    Elicitation,
    keep_mask,
    question_of,
    summarise_responses,
)
from traitvec_core.validation.explanations import Explanations
from traitvec_core.validation.separation import Separation
from traitvec_core.validation.verdicts import agreements_of, recommended_vector, separation_of

__all__ = ["build_report", "sample_responses"]

# What the vectors were held against, as it stands in their manifest.
_MEASURED = ("separation", "separation_by_instruction", "explanations", "chance", "stability",
             "cosines", "previous_cosines", "vectors")  # fmt: skip
# Longer responses are cut, so that a page stays one that opens at once.
_SHOWN_CHARS = 6000
_ORDER = ("fail", "warn", "pass")


def build_report(
    *,
    experiment: str,
    trait: str,
    definition: TraitDefinition,
    settings: ExperimentSettings,
    judged: pd.DataFrame,
    judging: dict[str, Any],
    captured: dict[str, Any],
    extracted: dict[str, Any],
    checks: Sequence[CheckResult],
    steering: SteeringEvaluation | None = None,
) -> tuple[str, dict[str, Any]]:
    """Build the report of one trait.

    Args:
        experiment: The experiment's name.
        trait: The trait's name.
        definition: The trait.
        settings: The experiment's settings.
        judged: Judged responses of both poles.
        judging: `responses/judging_metadata.json`.
        captured: `activations/metadata.json`.
        extracted: `vectors/manifest.json`.
        checks: Every check's verdict; the page shows those that fail first.
        steering: What the vectors do when they are added; None where that was not evaluated.

    Returns:
        The page as HTML and the report as JSON-ready values.
    """
    elicitation = summarise_responses(
        judged, settings.threshold, settings.min_coherence, settings.pairing
    )
    separation = separation_of(extracted)
    best = recommended_vector(extracted)
    agreements = agreements_of(judging, settings.threshold)
    by_steering = steering and steering.recommendation and steering.recommendation.model_dump()
    projections = extracted.get("held_out_projections")
    report: dict[str, Any] = {
        "experiment": experiment,
        "trait": trait,
        "model": settings.model,
        "judge_model": settings.judge_model,
        "answer": answer(checks, best, steering, settings.scale).model_dump(),
        # What steers is what is asked for; separation does not predict it.
        "recommended": by_steering or extracted["recommended"],
        "recommended_by_separation": extracted["recommended"],
        "checks": [check.model_dump() for check in checks],
        "elicitation": elicitation.model_dump(),
        "agreement": [found.model_dump() for found in agreements],
        "missing_reasons": judging["missing_reasons"],
        "held_out_projections": projections
        and {**projections, "question_ids": captured["question_ids"]},
        **{name: extracted[name] for name in _MEASURED},
        "mean_norm_by_layer": captured["mean_norm_by_layer"],
        "steering": steering and steering.model_dump(mode="json"),
    }
    page = _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        definition=definition,
        settings=settings,
        captured=captured,
        records=_records(judging, captured, extracted),
        checks=sorted(checks, key=lambda check: _ORDER.index(check.verdict)),
        poles=[("positive", elicitation.positive), ("negative", elicitation.negative)],
        pictures={
            **_pictures_of_scores(judged, elicitation, settings),
            **_pictures_of_vectors(separation, captured, extracted),
            **_pictures_of_steering(steering),
        },
        separation=separation,
        best=_best_rows(extracted),
        vector=best,
        samples=sample_responses(judged, settings, per_pole=6),
        conditions=_conditions(steering),
    )
    return page, report


def sample_responses(
    judged: pd.DataFrame, settings: ExperimentSettings, per_pole: int
) -> list[dict[str, Any]]:
    """A few responses of each pole, spread over the plan, with scores and whether kept."""
    mask = keep_mask(judged, settings.threshold, settings.min_coherence, settings.pairing)
    frame = judged.assign(kept=mask)
    samples: list[dict[str, Any]] = []
    for pole in ("pos", "neg"):
        rows = frame[frame["pole"] == pole]
        step = max(1, len(rows) // per_pole)
        for row in rows.iloc[::step].head(per_pole).to_dict("records"):
            samples.append({str(key): value for key, value in row.items()})
    return samples


def _pictures_of_scores(
    judged: pd.DataFrame, elicitation: Elicitation, settings: ExperimentSettings
) -> dict[str, bytes]:
    drawn = {
        "scores": plots.score_distributions(judged, settings.threshold),
        "coherence": plots.score_distributions(judged, settings.min_coherence, "coherence"),
        "instructions": plots.scores_by_instruction(elicitation),
    }
    return drawn | ({"cells": plots.contrast_by_cell(elicitation)} if elicitation.by_cell else {})


def _pictures_of_vectors(
    separation: Separation, captured: dict[str, Any], extracted: dict[str, Any]
) -> dict[str, bytes]:
    drawn = {"norms": plots.norms_by_layer(extracted["vectors"], captured["mean_norm_by_layer"])}
    if not separation.scores:
        return drawn
    explained, chance = extracted["explanations"], extracted["chance"]
    drawn["auroc"] = plots.separation_by_layer(
        separation, explained and Explanations.model_validate(explained)
    )
    drawn["effect_size"] = plots_of_vectors.effect_size_by_layer(
        separation, chance and Chance.model_validate(chance)
    )
    ways = {"new questions": separation}
    if extracted["separation_by_instruction"]:
        by_instruction = Separation.model_validate(extracted["separation_by_instruction"])
        ways["new instruction pairs"] = by_instruction
    drawn["heatmaps"] = plots_of_vectors.separation_heatmaps(ways)
    projections = extracted.get("held_out_projections")
    if projections:
        drawn["projections"] = plots_of_vectors.held_out_projections(
            projections["margins"],
            [place < captured["n_positive"] for place in range(captured["n_examples"])],
            [question_of(name) for name in captured["question_ids"]],
        )
    return drawn


def _pictures_of_steering(steering: SteeringEvaluation | None) -> dict[str, bytes]:
    if steering is None or not steering.dose_response:
        return {}
    return {"doses": plots_of_steering.dose_response(steering)}


def _best_rows(extracted: dict[str, Any]) -> list[dict[str, Any]]:
    """Each method's best layer by held-out effect size."""
    best: dict[str, dict[str, Any]] = {}
    for row in extracted["vectors"]:
        size = row["held_out_effect_size"]
        kept = best.get(row["method"])
        if kept is None or (size is not None and size > (kept["held_out_effect_size"] or 0)):
            best[row["method"]] = row
    return list(best.values())


def _conditions(steering: SteeringEvaluation | None) -> list[dict[str, Any]]:
    """What steering was tried with, and held against: every coefficient first, in order."""
    if steering is None:
        return []
    doses = steering.dose_response or [steering.unsteered]
    shown = [
        (f"{dose.coefficient:+g}".replace("-", "−"), f"{dose.method} at layer {dose.layer}", dose)
        if dose.method
        else ("0", "unsteered", dose)
        for dose in doses
    ]
    shown += [("prompted", "positive instructions, unsteered", steering.prompted)]
    shown += [
        (f"random {number}", f"random direction {number} at layer {found.layer}", found)
        for number, found in enumerate(steering.random, 1)
    ]
    first = steering.steered or doses[0]
    return [
        {**found.model_dump(), "tab": tab, "condition": condition, "is_first": found is first}
        for tab, condition, found in shown
    ]


def _records(*sources: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of the stages that have one: where, when, with what and for how much."""
    return [source["provenance"] for source in sources if "provenance" in source]


_ENVIRONMENT = page_environment()


def _number(value: float | None, digits: int = 2) -> str:
    """A missing number shows as a dash, never as 0."""
    if value is None or math.isnan(value):
        return "–"
    # Nothing is less than zero by a rounding.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _with_interval(figure: Mapping[str, float | None] | None, digits: int = 2) -> str:
    """A value or a mean with its interval, where it has one."""
    if figure is None:
        return "–"
    value = figure["value"] if "value" in figure else figure["mean"]
    return _number(value, digits) + _between((figure["low"], figure["high"]), digits)


def _between(ends: Sequence[float | None] | None, digits: int = 2) -> str:
    if not ends or None in ends:
        return ""
    return f" [{_number(ends[0], digits)}, {_number(ends[1], digits)}]"


def _clip(text: object) -> str:
    whole = str(text)
    left = len(whole) - _SHOWN_CHARS
    return whole if left <= 0 else f"{whole[:_SHOWN_CHARS]} … and {left} more characters"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


_ENVIRONMENT.filters |= {
    "number": _number,
    "with_interval": _with_interval,
    "between": _between,
    "clip": _clip,
    "data_uri": _data_uri,
}
