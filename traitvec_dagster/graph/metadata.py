"""What Dagster shows of each stage: numbers that plot across traits, tables, small pictures."""

import base64
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages.make import StageResult
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import (
    ActivationsManifest,
    JudgedResponsesManifest,
    ResponsesManifest,
)

if TYPE_CHECKING:
    import pandas as pd

    from traitvec_core.dynamics.overview import MonitoredText
    from traitvec_core.judging.agreement import Agreement
    from traitvec_core.steering_evaluation.result import Scores

__all__ = ["definition_metadata", "stage_metadata"]

# A picture goes into the event log with every materialization.
_MAX_PICTURE_BYTES = 50_000
_MAX_SHOWN_CHARS = 300
_MAX_TEXTS = 30
_OF_TEXT = ("prompt_last", "mean", "peak", "persistence", "commitment")
_Metadata = dict[str, Any]


def definition_metadata(folder: TraitFolder, data: bytes) -> _Metadata:
    """Metadata of the `definition` asset; a broken file has only its size and path."""
    shown: _Metadata = {
        "path": dg.MetadataValue.path(str(folder.definition_path)),
        "bytes": len(data),
    }
    try:
        definition = folder.definition()
    except TraitvecError:
        return shown
    return {
        **shown,
        "instruction_pairs": len(definition.instruction),
        "questions": len(definition.questions),
        "eval_questions": len(definition.eval_questions),
        "warnings": len(definition.warnings),
        "description": definition.description or "(none)",
        "instructions": _table(
            [{"positive": _clip(p.pos), "negative": _clip(p.neg)} for p in definition.instruction]
        ),
    }


def stage_metadata(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, made: StageResult
) -> _Metadata:
    """Metadata of a stage, from what it left on disk; the same whether it was made or kept."""
    cost = made.provenance.cost
    shown: _Metadata = {
        "reused": made.is_reused,
        "seconds": cost.seconds,
        "tokens_in": cost.tokens_in,
        "tokens_out": cost.tokens_out,
        "made_at": made.provenance.created_at,
        "key": made.provenance.key,
    }
    return {**_SHOWN[stage](folder, settings), **shown, **_known(cost_usd=cost.usd)}


def _responses(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    frame = folder.read_responses("responses")
    manifest = folder.manifest(ResponsesManifest)
    return {
        "n_responses": len(frame),
        "mean_response_tokens": float(frame["response_tokens"].mean()),
        **manifest.counts,
        "model": manifest.model,
        **_loaded(manifest),
        "model_load_seconds": manifest.model_load_seconds,
        "engine": manifest.engine,
        "instruction_role": manifest.instruction_role,
        "resumed_from": manifest.resumed_from,
        "folder": dg.MetadataValue.path(str(folder.path / "responses")),
        "sample": _sample(frame, ["pole", "question", "response", "finish_reason"]),
    }


def _judged_responses(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    from traitvec_core.report import plots
    from traitvec_core.validation.checks.agreement import measure_agreements
    from traitvec_core.validation.elicitation import summarise_responses

    frame = folder.read_responses()
    manifest = folder.manifest(JudgedResponsesManifest)
    elicitation = summarise_responses(frame, settings.response_filter)
    positive, negative = elicitation.positive, elicitation.negative
    agreements = measure_agreements(manifest.compared, settings.threshold)
    missing = sum(positive.missing.values()) + sum(negative.missing.values())
    return {
        **_numbers(
            contrast=elicitation.contrast.value,
            mean_trait_positive=positive.mean_trait,
            mean_trait_negative=negative.mean_trait,
            mean_coherence_positive=positive.mean_coherence,
            mean_coherence_negative=negative.mean_coherence,
        ),
        "kept_positive": positive.kept,
        "kept_negative": negative.kept,
        "pairs_kept": elicitation.pairs_kept,
        "missing_scores": missing,
        "missing_by_reason": _table(
            [
                {"score": score, "reason": _clip(reason), "responses": str(count)}
                for score, reasons in manifest.missing_reasons.items()
                for reason, count in reasons.items()
            ]
        ),
        "unfinished": sum(manifest.unfinished.values()),
        "judge_model": settings.judge_model,
        "scoring": manifest.judge["scoring"],
        "judge_mode": manifest.judge_mode,
        "judgements_made_now": manifest.asked_now,
        **_known(
            paid_now_usd=manifest.paid_now.usd,
            experiment_spent_usd=manifest.experiment_spent_usd,
        ),
        **_agreement_metadata(agreements),
        **_other_traits(frame, manifest.also_judged),
        "scores": _picture(plots.score_distributions(frame, settings.threshold), "Trait scores"),
        "by_instruction": _table(
            [
                {
                    "pair": row["number"],
                    "instruction": _clip(row["instruction"]),
                    "contrast": _round(row["contrast"]),
                    "kept_positive": row["kept_positive"],
                    "kept_negative": row["kept_negative"],
                }
                for row in elicitation.by_instruction
            ]
        ),
        "sample": _sample(
            frame, ["pole", "question", "response", "trait_score", "coherence_score"]
        ),
    }


def _agreement_metadata(agreements: "list[Agreement]") -> _Metadata:
    if not agreements:
        return {}
    columns = ("same_side", "mean_absolute_difference", "pearson", "spearman")
    rows = [
        {
            "compared with": _clip(agreement.with_),
            "n": str(agreement.n),
            **{name: getattr(agreement, name).format(".2f") for name in columns},
        }
        for agreement in agreements
    ]
    # Of the comparison that is named first: a second judge before repetitions before people.
    first = agreements[0]
    figures = {f"agreement_{name}": getattr(first, name).value for name in columns}
    return {"agreement": _table(rows), **_numbers(**figures)}


def _other_traits(frame: "pd.DataFrame", names: list[str]) -> _Metadata:
    """How far these instructions move other traits too."""
    if not names:
        return {}
    rows = []
    for name in names:
        means = frame.groupby("pole")[f"{name}_score"].mean()
        rows.append(
            {
                "trait": name,
                "mean_positive": _round(float(means["pos"])),
                "mean_negative": _round(float(means["neg"])),
                "contrast": _round(float(means["pos"] - means["neg"])),
            }
        )
    return {"other_traits": _table(rows)}


def _activations(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    manifest = folder.manifest(ActivationsManifest)
    names = ("n_examples", "n_positive", "n_negative", "n_layers", "hidden_dim", "without_tokens")
    path = folder.path / "activations/all_layers.pt"
    return {
        **{name: getattr(manifest, name) for name in names},
        "mean_norm_last_layer": manifest.mean_norm_by_layer[-1],
        "dtype": manifest.dtype,
        "position": manifest.position,
        "model": manifest.model,
        **_loaded(manifest),
        "megabytes": path.stat().st_size / 1e6,
        "path": dg.MetadataValue.path(str(path)),
    }


def _vectors(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    from traitvec_core.report import plots
    from traitvec_core.validation.manifests import VectorsManifest

    manifest = folder.manifest(VectorsManifest)
    separation = manifest.separation
    shown: _Metadata = {
        "n_vectors": len(manifest.vectors),
        **_numbers(held_out_accuracy=separation.probe_accuracy.value),
        "folder": dg.MetadataValue.path(str(folder.path / "vectors")),
    }
    recommended, best = manifest.recommended, manifest.recommended_row
    if recommended is not None and best is not None:
        shown |= {
            "recommended": recommended.why,
            "recommended_layer": best.layer,
            "recommended_method": best.method,
            **_numbers(
                vector_norm=best.vector_norm,
                relative_norm=best.relative_norm,
                held_out_auroc=best.held_out_auroc,
                held_out_effect_size=best.held_out_effect_size,
            ),
        }
    if separation.scores:
        shown["separation"] = _picture(plots.separation_by_layer(separation), "Held-out AUROC")
    norms = folder.manifest(ActivationsManifest).mean_norm_by_layer
    shown["norms"] = _picture(plots.norms_by_layer(manifest.vectors, norms), "Norms")
    columns = ("method", "layer", "vector_norm", "relative_norm", "train_accuracy",
               "held_out_accuracy", "held_out_auroc", "held_out_effect_size")  # fmt: skip
    shown["figures"] = _table(
        [{name: _round(getattr(row, name)) for name in columns} for row in manifest.vectors]
    )
    return shown


def _steering_evaluation(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    from traitvec_core.steering_evaluation.result import read_steering

    evaluation = read_steering(folder)
    if evaluation is None:
        return {"evaluated": "no: steering.evaluate is off in experiment.yaml"}
    steered, best = evaluation.steered, evaluation.recommendation
    controls = (evaluation.prompted, *evaluation.random)
    shown: _Metadata = {
        "questions_from": evaluation.questions_from,
        "n_generated": evaluation.n_generated,
        "notes": "; ".join(evaluation.notes) or "none",
        "unfinished": sum(evaluation.unfinished.values()),
        "folder": dg.MetadataValue.path(str(folder.path / "steering")),
        "dose_response": _table([_dose(scores) for scores in evaluation.dose_response]),
        "controls": _table([_dose(scores) for scores in controls]),
    }
    if best is not None:
        shown |= {
            "recommended": best.why, "method": best.method, "layer": best.layer,
            "coefficient": best.coefficient,
        }  # fmt: skip
    if steered is not None:
        moved = steered.trait_moved
        shown |= _numbers(moved=moved.value, moved_low=moved.low, moved_high=moved.high)
        shown |= _numbers(coherence=steered.coherence.value)
    shown |= _numbers(random_moved=evaluation.random_moved.value)
    if evaluation.side_effects:
        shown["side_effects"] = _table(
            [
                {"trait": effect.trait, "moved": effect.moved.format(".1f")}
                for effect in evaluation.side_effects
            ]
        )
    return shown


def _dose(scores: "Scores") -> dict[str, str]:
    return {
        "condition": _clip(scores.condition),
        "coefficient": f"{scores.coefficient:g}",
        "trait_score": scores.trait.format(".1f"),
        "moved": scores.trait_moved.format(".1f"),
        "coherence": scores.coherence.format(".1f"),
        "responses": str(scores.n),
    }


def _validation_report(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    from traitvec_core.validation.manifests import ReportManifest

    report = folder.manifest(ReportManifest)
    page = folder.path / "validation/report.html"
    verdicts = [check.verdict for check in report.checks]
    return {
        "report": dg.MetadataValue.path(str(page)),
        "recommended": report.recommended.why
        if report.recommended
        else "nothing: no held-out figures",
        "checks_passed": verdicts.count("pass"),
        "checks_warned": verdicts.count("warn"),
        "checks_failed": verdicts.count("fail"),
        "checks": _table(
            [
                check.model_dump(include={"name", "verdict", "summary", "advice"})
                for check in report.checks
            ]
        ),
    }


def _trait_dynamics(folder: TraitFolder, settings: ExperimentSettings) -> _Metadata:
    from traitvec_core.dynamics.manifests import NotTraced, read_dynamics

    manifest = read_dynamics(folder)
    if isinstance(manifest, NotTraced):
        return {"traced": f"no: {manifest.why}"}
    page = folder.path / "dynamics/dynamics.html"
    whole, prediction = manifest.whole, manifest.prediction
    return {
        "n_texts": whole.n_texts,
        "missing_scores": whole.n_texts - whole.n_scored,
        "unfinished": sum(manifest.unfinished.values()),
        **_numbers(
            settled_share=whole.settled_share,
            median_commitment=whole.median_commitment,
            **{
                f"mean_projection_{name}": figures.mean_projection
                for name, figures in manifest.by_condition.items()
            },
            r_overall=prediction.overall.r,
            r_across=prediction.across.r,
            r_inside=prediction.inside.r,
        ),
        "vector": manifest.vector,
        "layer": manifest.layer,
        "judge_model": manifest.judge_model,
        "page": dg.MetadataValue.path(str(page)),
        "by_condition": _table(
            [
                {"condition": name}
                | {key: "–" if value is None else f"{value:.4g}" for key, value in figures}
                for name, figures in manifest.by_condition.items()
            ]
        ),
        "texts": _table([_text(text) for text in manifest.texts[:_MAX_TEXTS]]),
    }


def _text(text: "MonitoredText") -> dict[str, str]:
    figures = (text.trait_score, *(getattr(text.summary, name) for name in _OF_TEXT))
    return {"question": _clip(text.question), "condition": text.condition} | {
        name: "–" if value is None else f"{value:.4g}"
        for name, value in zip(("trait_score", *_OF_TEXT), figures, strict=True)
    }


_SHOWN: dict[Stage, Callable[[TraitFolder, ExperimentSettings], _Metadata]] = {
    "responses": _responses,
    "judged_responses": _judged_responses,
    "activations": _activations,
    "vectors": _vectors,
    "steering_evaluation": _steering_evaluation,
    "validation_report": _validation_report,
    "trait_dynamics": _trait_dynamics,
}


def _loaded(manifest: ResponsesManifest | ActivationsManifest) -> _Metadata:
    """How the model was loaded, as far as it is known."""
    names = ("model_revision", "model_dtype", "attention", "quantization")
    return {name: value for name in names if (value := getattr(manifest, name))}


def _known(**usd: float | None) -> _Metadata:
    """Dollars that are known: an unknown price leaves a gap in the plot; it is not free."""
    return {name: round(value, 6) for name, value in usd.items() if value is not None}


def _numbers(**values: float | None) -> _Metadata:
    """Floats that exist: a missing figure leaves a gap in the plot, not a zero."""
    return {name: round(float(value), 4) for name, value in values.items() if value is not None}


def _picture(png: bytes, title: str) -> Any:
    if len(png) > _MAX_PICTURE_BYTES:
        return dg.MetadataValue.text(f"{title}: picture too large to show here; see the report")
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{data})")


def _sample(frame: "pd.DataFrame", columns: list[str], per_pole: int = 3) -> Any:
    rows = []
    for pole in ("pos", "neg"):
        of_pole = frame[frame["pole"] == pole]
        step = max(1, len(of_pole) // per_pole)
        for row in of_pole.iloc[::step].head(per_pole)[columns].to_dict("records"):
            rows.append({str(name): _cell(value) for name, value in row.items()})
    return _table(rows)


def _table(rows: list[dict[str, Any]]) -> Any:
    if not rows:
        return dg.MetadataValue.text("(none)")
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(name, "float" if isinstance(rows[0][name], float) else "string")
            for name in rows[0]
        ]
    )
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=schema)


def _cell(value: Any) -> Any:
    return _clip(value) if isinstance(value, str) else _round(value)


def _clip(text: str) -> str:
    """Model text on one line, not endless.

    It only ever goes into tables, whose cells Dagster shows as plain text; never into markdown.
    """
    flat = " ".join(text.split())
    return flat if len(flat) <= _MAX_SHOWN_CHARS else f"{flat[:_MAX_SHOWN_CHARS]}…"


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
