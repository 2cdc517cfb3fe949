"""What Dagster shows of the stages up to the activations: numbers, tables, small pictures."""

from typing import TYPE_CHECKING

from traitvec_core.elicited_by import in_words_of
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.files import ACTIVATIONS_FILE, DEFINITION_FILE
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import (
    ActivationsManifest,
    JudgedResponsesManifest,
    ResponsesManifest,
)
from traitvec_dagster.graph.asset_metadata import ROW_COUNT
from traitvec_dagster.graph.metadata_values import (
    Metadata,
    clip,
    facts,
    in_project,
    known,
    numbers,
    picture,
    rounded,
    sample,
    table,
)

if TYPE_CHECKING:
    import pandas as pd

    from traitvec_core.judging.agreement import Agreement

__all__ = [
    "activations_metadata",
    "definition_metadata",
    "judged_responses_metadata",
    "responses_metadata",
]


def definition_metadata(folder: TraitFolder, data: bytes) -> Metadata:
    """Metadata of the `definition` asset; a broken file has only its size and path."""
    metadata: Metadata = {
        "path": in_project(folder.path.parent, folder.name, DEFINITION_FILE),
        **facts(bytes=len(data)),
    }
    try:
        definition = folder.definition()
    except TraitvecError:
        return metadata
    return {
        **metadata,
        "instruction_pairs": len(definition.instruction),
        **({"scenario_pairs": len(definition.scenarios)} if definition.scenarios else {}),
        "questions": len(definition.questions),
        "eval_questions": len(definition.eval_questions),
        "description": definition.description or "(none)",
        **{
            name: table([{"positive": clip(p.pos), "negative": clip(p.neg)} for p in pairs])
            for name, pairs in (
                ("instructions", definition.instruction),
                ("scenarios", definition.scenarios),
            )
            if pairs
        },
    }


def responses_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """Counts, lengths and a sample of the raw responses."""
    frame = folder.read_responses("responses")
    manifest = folder.manifest(ResponsesManifest)
    return {
        ROW_COUNT: len(frame),
        "mean_response_tokens": float(frame["response_tokens"].mean()),
        **manifest.counts,
        "model": manifest.model,
        **_loaded(manifest),
        **facts(model_load_seconds=manifest.model_load_seconds),
        "engine": manifest.engine,
        "elicitation": manifest.elicitation,
        "instruction_role": manifest.instruction_role,
        **facts(resumed_from=manifest.resumed_from),
        "folder": in_project(folder.path.parent, folder.name, "responses"),
        "sample": sample(frame, ["pole", "question", "response", "finish_reason"]),
    }


def judged_responses_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """Contrast, what is kept and missing, what judging cost, and a sample."""
    from traitvec_core.report import plots
    from traitvec_core.validation.checks.agreement import measure_agreements
    from traitvec_core.validation.elicitation import summarise_responses

    frame = folder.read_responses()
    manifest = folder.manifest(JudgedResponsesManifest)
    elicitation = summarise_responses(frame, settings.response_filter, settings.elicitation)
    positive, negative = elicitation.positive, elicitation.negative
    agreements = measure_agreements(manifest.compared, settings.threshold)
    missing = sum(positive.missing.values()) + sum(negative.missing.values())
    return {
        **numbers(
            contrast=elicitation.contrast.value,
            mean_trait_positive=positive.mean_trait,
            mean_trait_negative=negative.mean_trait,
            mean_coherence_positive=positive.mean_coherence,
            mean_coherence_negative=negative.mean_coherence,
        ),
        ROW_COUNT: len(frame),
        "kept_positive": positive.kept,
        "kept_negative": negative.kept,
        "pairs_kept": elicitation.pairs_kept,
        "missing_scores": missing,
        "missing_by_reason": table(
            [
                {"score": score, "reason": clip(reason), "responses": str(count)}
                for score, reasons in manifest.missing_reasons.items()
                for reason, count in reasons.items()
            ]
        ),
        "unfinished": sum(manifest.unfinished.values()),
        "judge_model": manifest.judge_model,
        # Older results name one judge for both.
        "coherence_judge": manifest.coherence_judge or manifest.judge_model,
        "scoring": manifest.judge["scoring"],
        "judge_mode": manifest.judge_mode,
        "judgements_made_now": manifest.asked_now,
        **known(
            paid_now_usd=manifest.paid_now.usd,
            experiment_spent_usd=manifest.experiment_spent_usd,
        ),
        **_agreement_metadata(agreements),
        **_other_traits(frame, manifest.also_judged),
        "scores": picture(plots.score_distributions(frame, settings.threshold), "Trait scores"),
        "by_instruction": table(
            [
                {
                    "pair": row["number"],
                    in_words_of(settings.elicitation, "instruction"): clip(row["instruction"]),
                    "contrast": rounded(row["contrast"]),
                    "kept_positive": row["kept_positive"],
                    "kept_negative": row["kept_negative"],
                }
                for row in elicitation.by_instruction
            ]
        ),
        "sample": sample(frame, ["pole", "question", "response", "trait_score", "coherence_score"]),
    }


def _agreement_metadata(agreements: "list[Agreement]") -> Metadata:
    if not agreements:
        return {}
    columns = ("same_side", "mean_absolute_difference", "pearson", "spearman")
    rows = [
        {
            "compared with": clip(agreement.with_),
            "n": str(agreement.n),
            **{name: getattr(agreement, name).format(".2f") for name in columns},
        }
        for agreement in agreements
    ]
    # Of the comparison that is named first: a second judge before repetitions before people.
    first = agreements[0]
    figures = {f"agreement_{name}": getattr(first, name).value for name in columns}
    return {"agreement": table(rows), **numbers(**figures)}


def _other_traits(frame: "pd.DataFrame", names: list[str]) -> Metadata:
    """How far these instructions move other traits too."""
    if not names:
        return {}
    rows = []
    for name in names:
        means = frame.groupby("pole")[f"{name}_score"].mean()
        rows.append(
            {
                "trait": name,
                "mean_positive": rounded(float(means["pos"])),
                "mean_negative": rounded(float(means["neg"])),
                "contrast": rounded(float(means["pos"] - means["neg"])),
            }
        )
    return {"other_traits": table(rows)}


def activations_metadata(folder: TraitFolder, settings: ExperimentSettings) -> Metadata:
    """Shapes, norms and where the tensor is."""
    manifest = folder.manifest(ActivationsManifest)
    names = (
        "n_examples", "n_positive", "n_negative", "without_tokens", "n_from_ids",
        "n_tokenised_again",
    )  # fmt: skip
    path = folder.path / ACTIVATIONS_FILE
    return {
        **{name: getattr(manifest, name) for name in names},
        **facts(n_layers=manifest.n_layers, hidden_dim=manifest.hidden_dim),
        "mean_norm_last_layer": manifest.mean_norm_by_layer[-1],
        "dtype": manifest.dtype,
        "position": manifest.position,
        "opposite_instruction": manifest.opposite_instruction or "captured",
        "model": manifest.model,
        "engine": manifest.engine,
        **_loaded(manifest),
        **facts(megabytes=path.stat().st_size / 1e6),
        "path": in_project(folder.path.parent, folder.name, ACTIVATIONS_FILE),
    }


def _loaded(manifest: ResponsesManifest | ActivationsManifest) -> Metadata:
    """How the model was loaded, as far as it is known."""
    names = ("engine_backend", "model_revision", "model_dtype", "attention", "quantization")
    return {name: value for name in names if (value := getattr(manifest, name))}
