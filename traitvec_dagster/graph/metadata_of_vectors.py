"""What Dagster shows of the vectors and of what is made from them."""

import re
from typing import TYPE_CHECKING

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.storage.vector_verdict import verdict_on
from traitvec_dagster.graph.key_figures import (
    report_figures,
    vector_figures,
    vectors_at_a_glance,
)
from traitvec_dagster.graph.metadata_values import (
    Metadata,
    clip,
    facts,
    in_project,
    judged,
    numbers,
    picture,
    table,
)
from traitvec_dagster.ui.addresses import (
    DYNAMICS_PAGE,
    PLOT,
    REPORT_PAGE,
    page_url,
    show_picture,
)

if TYPE_CHECKING:
    from traitvec_core.dynamics.overview import MonitoredText
    from traitvec_core.steering_evaluation.result import Scores, SteeringEvaluation
    from traitvec_core.validation.report_manifest import ReportManifest

__all__ = [
    "steering_evaluation_metadata",
    "trait_dynamics_metadata",
    "validation_report_metadata",
    "vectors_metadata",
]

_MAX_TEXTS = 30
# How the name of a steered condition ends.
_COEFFICIENT = re.compile(r"_c[-+\d.e]+$")
_OF_TEXT = ("prompt_last", "mean", "peak", "persistence", "commitment")


def vectors_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """The answer, the recommended vector's figures, plots over layers, and a row per vector."""
    from traitvec_core.report import plots
    from traitvec_core.validation.manifests import VectorsManifest

    manifest = folder.manifest(VectorsManifest)
    separation = manifest.separation
    metadata: Metadata = {
        **_answer(folder),
        **vectors_at_a_glance(manifest),
        **facts(n_vectors=len(manifest.vectors)),
        **numbers(held_out_accuracy=separation.probe_accuracy.value),
        "folder": in_project(folder.path.parent, folder.name, "vectors"),
        "forecast": manifest.forecast.reason,
        **numbers(chance_p_value=manifest.chance.permutation_p_value),
    }
    recommended, best = manifest.recommended, manifest.recommended_row
    if recommended is not None and best is not None:
        metadata |= {
            "recommended": recommended.why,
            **_judged(folder, recommended.method, recommended.layer),
            **facts(recommended_layer=best.layer),
            "recommended_method": best.method,
            **numbers(
                vector_norm=best.vector_norm,
                chance_norm=best.chance_norm,
                relative_norm=best.relative_norm,
                held_out_auroc=best.held_out_auroc,
                held_out_effect_size=best.held_out_effect_size,
            ),
        }
    explanations = manifest.evidence.explanations if manifest.evidence else None
    if explanations is not None:
        shares = {f"{s.name}_share": s.share_of_separation.value for s in explanations.shares}
        metadata |= numbers(**shares)
    if separation.scores:
        metadata["separation"] = picture(plots.separation_by_layer(separation), "Held-out AUROC")
    norms = folder.manifest(ActivationsManifest).mean_norm_by_layer
    metadata["norms"] = picture(plots.norms_by_layer(manifest.vectors, norms), "Norms")
    metadata["figures"] = vector_figures(manifest.vectors)
    return metadata


def steering_evaluation_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """The chosen dose, whether it steers, the controls, and what else changes."""
    from traitvec_core.steering_evaluation.result import SteeringManifest, read_steering

    evaluation = read_steering(folder)
    if evaluation is None:
        skipped = folder.manifest(SteeringManifest).skipped
        return {"evaluated": f"no: {skipped or 'steering.evaluate is off in experiment.yaml'}"}
    # As the check and the report test it.
    test = evaluation.test.at(settings.thresholds.significance)
    steered, best = evaluation.steered, evaluation.tested
    controls = (evaluation.prompted, *evaluation.random)
    metadata: Metadata = {
        "questions_from": evaluation.questions_from,
        "n_generated": evaluation.n_generated,
        "notes": "; ".join(evaluation.notes) or "none",
        "unfinished": sum(evaluation.unfinished.values()),
        "folder": in_project(folder.path.parent, folder.name, "steering"),
        "dose_response": table([_dose(scores) for scores in evaluation.dose_response]),
        "controls": table([_dose(scores) for scores in controls]),
    }
    if best is not None:
        metadata |= {
            "recommended": best.why, "method": best.method, **facts(layer=best.layer),
            "coefficient": best.coefficient,
            **_judged(folder, best.method, best.layer),
        }  # fmt: skip
    if steered is not None:
        moved = steered.trait_moved
        metadata |= numbers(moved=moved.value, moved_low=moved.low, moved_high=moved.high)
        metadata |= numbers(coherence=steered.coherence.value)
    metadata |= {
        "steers": test.steers,
        "objections": "; ".join(test.objections()) or "none",
        **numbers(
            bound=test.bound,
            p_value=test.p_value,
            random_moved=test.random_mean,
            random_sd=test.random_sd,
            random_best=test.random_best,
            wrong_way=test.wrong_way,
            added_norm=best.added_norm if best is not None else None,
        ),
    }
    if evaluation.damage is not None:
        metadata["what_else_changes"] = table(_what_else_changes(evaluation))
        metadata |= numbers(
            kl_per_token=evaluation.damage.kl_per_token,
            refusal_cosine=evaluation.damage.refusal_cosine,
        )
    return metadata


def _what_else_changes(evaluation: "SteeringEvaluation") -> list[dict[str, str]]:
    rows = [
        {
            "what": f"trait {effect.trait}",
            "unsteered": effect.unsteered.format(".1f"),
            "steered": effect.steered.format(".1f"),
            "moved": effect.moved.format(".1f"),
        }
        for effect in evaluation.side_effects
    ]
    for row in evaluation.damage.rows() if evaluation.damage is not None else ():
        figures = zip(("unsteered", "steered", "moved"), row[1:], strict=True)
        rows.append(
            {"what": row.what}
            | {name: "–" if value is None else f"{value:.3g}" for name, value in figures}
        )
    return rows


def _answer(folder: TraitFolder) -> Metadata:
    """Whether the vector can be used, in one line, and how, as the report's first screen says."""
    from traitvec_core.report.first_screen import (
        answer_line,
        experiments_name,
        export_command,
        python_line,
    )
    from traitvec_core.report.verdict_badge import verdict_badge
    from traitvec_core.validation.report_manifest import ReportManifest

    recommended = folder.recommended()
    report_page = page_url(folder.experiment, folder.name, REPORT_PAGE)
    if recommended is None:
        line = "No vector can be recommended: nothing could be held out."
        return {"answer": line, "report": report_page}
    if recommended.verdict is None:
        line = f"{verdict_badge(recommended)}: validation_report judges it. {recommended.why}"
    else:
        report = folder.manifest(ReportManifest)
        line = answer_line(report.answer, recommended, report.figures)
    root = experiments_name(folder)
    return {
        "answer": line,
        "report": report_page,
        "python": python_line(root, folder.experiment, folder.name),
        "command": export_command(root, folder.experiment, folder.name, recommended),
    }


def _short_answer(folder: TraitFolder) -> Metadata:
    """Return the verdict and the vector, from the vectors' own files, with a link to the report."""
    from traitvec_core.report.verdict_badge import vector_text, verdict_badge

    recommended = folder.recommended()
    vector = f": {vector_text(recommended)}" if recommended else ""
    return {
        "answer": f"{verdict_badge(recommended)}{vector}",
        "report": page_url(folder.experiment, folder.name, REPORT_PAGE),
    }


def _judged(folder: TraitFolder, method: str, layer: int) -> Metadata:
    """The verdict on one vector, as long as the report is of these results."""
    return judged(*verdict_on(folder.recommended(), method, layer))


def _dose(scores: "Scores") -> dict[str, str]:
    return {
        # Without the coefficient, which has its own column.
        "condition": clip(_COEFFICIENT.sub("", scores.condition)),
        "coefficient": f"{scores.coefficient:g}",
        "trait_score": scores.trait.format(".1f"),
        "moved": scores.trait_moved.format(".1f"),
        "coherence": scores.coherence.format(".1f"),
        "responses": str(scores.n),
    }


def validation_report_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """The answer, the checks, and where the page is."""
    from traitvec_core.validation.report_manifest import ReportManifest

    report = folder.manifest(ReportManifest)
    recommended = folder.recommended()
    verdicts = [check.verdict for check in report.checks]
    return {
        **_answer(folder),
        "key_figures": report_figures(report.figures),
        "report_file": in_project(folder.path.parent, folder.name, REPORT_PAGE),
        "plot": show_picture(folder.experiment, folder.name, PLOT),
        "recommended": recommended.why if recommended else "nothing: no held-out figures",
        **(judged(recommended.verdict, recommended.reasons) if recommended else {}),
        **_second_opinion(report),
        **_style_stress(report),
        "checks_passed": verdicts.count("pass"),
        "checks_warned": verdicts.count("warn"),
        "checks_failed": verdicts.count("fail"),
        # Three columns: a fourth would cut off all values on the page of a window 1440 pixels wide.
        "checks": table(
            [
                {
                    "name": check.name,
                    "verdict": check.verdict,
                    "summary": f"{check.summary} {check.advice}".rstrip(),
                }
                for check in report.checks
            ]
        ),
    }


def _second_opinion(report: "ReportManifest") -> Metadata:
    """Whether a second elicitation agrees, and its figures."""
    opinion = report.second_opinion
    if opinion is None:
        return {"second_opinion": report.no_second_opinion} if report.no_second_opinion else {}
    there, back = opinion.transfers
    cosine = opinion.cosine_of("mean_diff", there.layer)
    own, second = (each.effect.value for each in opinion.steering)
    return {
        "second_opinion": f"{opinion.opinion}: {opinion.sentence}",
        **numbers(
            auroc_on_second=there.auroc.value,
            auroc_of_second=back.auroc.value,
            accuracy_on_second=there.accuracy.value,
            accuracy_of_second=back.accuracy.value,
            cosine_with_second=cosine.cosine if cosine else None,
            cosine_by_chance=cosine.chance if cosine else None,
            steered=own,
            steered_by_second=second,
        ),
    }


def _style_stress(report: "ReportManifest") -> Metadata:
    if not report.style_stress:
        return {}
    before, _ = report.style_stress[0].accuracy
    after = {f"accuracy_{row.style}": row.accuracy[1].value for row in report.style_stress}
    return numbers(accuracy_before_restyling=before.value, **after)


def trait_dynamics_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """Where projections settle and whether they predict the score, by condition and text."""
    from traitvec_core.dynamics.manifests import NotTraced, read_dynamics

    manifest = read_dynamics(folder)
    # The stage is the last of a run, so the run's log ends with the verdict and the report's link.
    answer = _short_answer(folder)
    if isinstance(manifest, NotTraced):
        return {**answer, "traced": f"no: {manifest.why}"}
    whole, prediction = manifest.whole, manifest.prediction
    method = manifest.vector.removesuffix(f"_layer{manifest.layer}")
    return {
        **answer,
        "page": page_url(folder.experiment, folder.name, DYNAMICS_PAGE),
        "page_file": in_project(folder.path.parent, folder.name, DYNAMICS_PAGE),
        "n_texts": whole.n_texts,
        "missing_scores": whole.n_texts - whole.n_scored,
        "unfinished": sum(manifest.unfinished.values()),
        **numbers(
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
        **_judged(folder, method, manifest.layer),
        **facts(layer=manifest.layer),
        "judge_model": manifest.judge_model,
        "by_condition": table(
            [
                {"condition": name}
                | {key: "–" if value is None else f"{value:.4g}" for key, value in figures}
                for name, figures in manifest.by_condition.items()
            ]
        ),
        "texts": table([_text(text) for text in manifest.texts[:_MAX_TEXTS]]),
    }


def _text(text: "MonitoredText") -> dict[str, str]:
    figures = (text.trait_score, *(getattr(text.summary, name) for name in _OF_TEXT))
    return {"question": clip(text.question), "condition": text.condition} | {
        name: "–" if value is None else f"{value:.4g}"
        for name, value in zip(("trait_score", *_OF_TEXT), figures, strict=True)
    }
