"""The validation report of one trait: every number as JSON, and one self-contained page."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.report import plots
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.checks import CheckResult
from traitvec_core.validation.elicitation import Elicitation, keep_mask, summarise_responses
from traitvec_core.validation.separation import Separation
from traitvec_core.validation.verdicts import agreements_of, separation_of

__all__ = ["build_report", "sample_responses"]

# What the vectors were held against, as it stands in their manifest.
_MEASURED = ("separation_by_instruction", "explanations", "chance", "stability", "cosines",
             "previous_cosines")  # fmt: skip


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
        checks: Every check's verdict, in the order in which they are shown.

    Returns:
        The page as HTML and the report as JSON-ready values.
    """
    elicitation = summarise_responses(judged, settings.threshold, settings.min_coherence)
    separation = separation_of(extracted)
    agreements = agreements_of(judging, settings.threshold)
    report: dict[str, Any] = {
        "experiment": experiment,
        "trait": trait,
        "model": settings.model,
        "judge_model": settings.judge_model,
        "recommended": extracted["recommended"],
        "checks": [check.model_dump() for check in checks],
        "elicitation": elicitation.model_dump(),
        "agreement": [found.model_dump() for found in agreements],
        "missing_reasons": judging["missing_reasons"],
        "separation": separation.model_dump(),
        **{name: extracted[name] for name in _MEASURED},
        "vectors": extracted["vectors"],
    }
    page = _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        definition=definition,
        settings=settings,
        captured=captured,
        poles=[("positive", elicitation.positive), ("negative", elicitation.negative)],
        pictures=_pictures(judged, elicitation, separation, captured, extracted, settings),
        best=_best_rows(extracted),
        embedding=_embedding_note(separation, extracted),
        samples=sample_responses(judged, settings, per_pole=6),
        failing=[check for check in checks if check.verdict != "pass"],
        headline=_headline(checks),
    )
    return page, report


def sample_responses(
    judged: pd.DataFrame, settings: ExperimentSettings, per_pole: int
) -> list[dict[str, Any]]:
    """A few responses of each pole, spread over the plan, with scores and whether kept."""
    frame = judged.assign(kept=keep_mask(judged, settings.threshold, settings.min_coherence))
    samples: list[dict[str, Any]] = []
    for pole in ("pos", "neg"):
        rows = frame[frame["pole"] == pole]
        step = max(1, len(rows) // per_pole)
        for row in rows.iloc[::step].head(per_pole).to_dict("records"):
            samples.append({str(key): value for key, value in row.items()})
    return samples


def _pictures(
    judged: pd.DataFrame,
    elicitation: Elicitation,
    separation: Separation,
    captured: dict[str, Any],
    extracted: dict[str, Any],
    settings: ExperimentSettings,
) -> dict[str, str]:
    drawn = {
        "scores": plots.score_distributions(judged, settings.threshold),
        "instructions": plots.scores_by_instruction(elicitation),
        "norms": plots.norms_by_layer(extracted["vectors"], captured["mean_norm_by_layer"]),
    }
    if separation.scores:
        drawn["separation"] = plots.separation_by_layer(separation)
        drawn["heatmap"] = plots.separation_heatmap(separation)
    return {
        name: f"data:image/png;base64,{base64.b64encode(png).decode()}"
        for name, png in drawn.items()
    }


def _best_rows(extracted: dict[str, Any]) -> list[dict[str, Any]]:
    """Each method's best layer by held-out effect size."""
    best: dict[str, dict[str, Any]] = {}
    for row in extracted["vectors"]:
        size = row["held_out_effect_size"]
        kept = best.get(row["method"])
        if kept is None or (size is not None and size > (kept["held_out_effect_size"] or 0)):
            best[row["method"]] = row
    return list(best.values())


def _embedding_note(separation: Separation, extracted: dict[str, Any]) -> str:
    row0 = separation.of("probe", 0)
    chosen = extracted["recommended"]
    if row0 is None or chosen is None:
        return ""
    best = separation.of(chosen["method"], chosen["layer"])
    if best is None:
        return ""
    text = (
        "At the embeddings (layer 0), before any block has run, a probe reaches a held-out AUROC"
        f" of {row0.auroc:.3f}; the recommended vector reaches {best.auroc:.3f}."
    )
    if row0.auroc >= best.auroc - 0.02:
        text += (
            " Words alone tell the poles apart as well: the vector may stand for wording (length,"
            " stock phrases) rather than for the trait."
        )
    return text


def _headline(checks: Sequence[CheckResult]) -> str:
    failed = [check.name for check in checks if check.verdict == "fail"]
    warned = [check.name for check in checks if check.verdict == "warn"]
    if failed:
        return f"Not ready to use: {', '.join(failed)} failed."
    if warned:
        return f"Usable with care: {', '.join(warned)} warns."
    return "All checks pass."


_ENVIRONMENT = Environment(
    loader=PackageLoader("traitvec_core.report"),
    # Every value is escaped: responses are whatever a model chose to write.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _number(value: float | None, digits: int = 2) -> str:
    """A missing number shows as a dash, never as 0."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


_ENVIRONMENT.filters["number"] = _number
