"""What the vectors do when they are added to the model."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.refusals import is_about_refusing
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import (
    answering_inputs,
    content_of,
    other_traits,
    rubric_inputs,
    side_effect_traits,
)
from traitvec_core.stages.spec import (
    JUDGE_SETTINGS,
    MODEL_SETTINGS,
    PROMPT_SETTINGS,
    StageSpec,
    reading_place,
)
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_csv
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    import torch

    from traitvec_core.judging.cost_estimate import JudgingCost
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_core.storage.manifests import Recommendation
    from traitvec_core.validation.evidence import VectorEvidence
    from traitvec_core.validation.manifests import VectorRow, VectorsManifest
    from traitvec_core.vectors import TraitVector

__all__ = ["SPEC", "make_steering_evaluation"]


def make_steering_evaluation(context: StageContext) -> StageOutput:
    """Choose layer, method and coefficient by what they do, and report on other questions."""
    from traitvec_core.judging.judgement_store import Origin
    from traitvec_core.steering_evaluation.evaluate import SteeringPlan, evaluate_steering
    from traitvec_core.steering_evaluation.result import SteeringManifest, SteeringOptions
    from traitvec_core.steering_evaluation.trials import TrialLog, TrialSetup
    from traitvec_core.validation.manifests import VectorsManifest

    settings, folder = context.settings, context.folder
    if not settings.steering.evaluate:
        return {}, {"is_evaluated": False}
    manifest = folder.manifest(VectorsManifest)
    forecast = manifest.forecast
    if settings.steering.evaluate == "auto" and forecast.is_hopeless:
        return {}, {"is_evaluated": False, "skipped": forecast.reason}
    definition = folder.definition()
    journal = folder.journal("steering_evaluation", context.provenance.key)

    def progress(done: int, total: int, note: str, left_s: float | None) -> None:
        context.bench.progress("steering_evaluation", done, total, note, left_s=left_s)

    with context.open_judgements() as store:
        # Every trial waits for the one before it: batches would take days.
        side_effects = side_effect_traits(folder, settings)
        judge = context.load_judge(store, also=side_effects, is_live=True)
        engine = context.reading_engine()
        setup = TrialSetup(
            engine, judge, definition, settings.sampling,
            store=store, origin=Origin(folder.experiment, folder.name),
            is_about_refusing=is_about_refusing(folder.name, definition),
            elicited_by=settings.elicitation, instruction_role=settings.instruction_role,
            batch_size=context.batch_size,
        )  # fmt: skip
        plan = SteeringPlan(
            _vectors(folder, manifest.vectors), manifest.separation,
            SteeringOptions(
                n_search=settings.steering.n_search, n_held_out=settings.steering.n_held_out,
                n_random=settings.steering.n_random, min_coherence=settings.min_coherence,
            ),
            side_effects,
            _refusal_vectors(folder, settings),
        )  # fmt: skip
        evaluation = evaluate_steering(
            setup, plan, log=TrialLog(journal.rows(), journal.append), on_progress=progress
        )
        spent_usd = store.spent_usd(folder.experiment)
    context.provenance.is_complete = not evaluation.unfinished
    context.provenance.cost = evaluation.judging_cost.model_copy(
        update={
            "tokens_in": evaluation.judging_cost.tokens_in + evaluation.tokens_in,
            "tokens_out": evaluation.judging_cost.tokens_out + evaluation.tokens_out,
        }
    )
    record = SteeringManifest(
        is_evaluated=True,
        engine=engine.name,
        engine_backend=engine.as_loaded.get("engine_backend"),
        judge_model=judge.name,
        coherence_judge=settings.judge_of_coherence,
        experiment_spent_usd=round(spent_usd, 6),
        evidence=_evidence(folder, settings, manifest, evaluation.recommendation),
    )
    return {"steering/responses.csv": dump_csv(evaluation.responses)}, {
        **record.model_dump(),
        **evaluation.model_dump(mode="json"),
    }


def _evidence(
    folder: TraitFolder,
    settings: ExperimentSettings,
    manifest: "VectorsManifest",
    chosen: "Recommendation | None",
) -> "VectorEvidence | None":
    """What is measured on the chosen vector, unless `vectors` has measured it."""
    from traitvec_core.stages.vectors import read_examples
    from traitvec_core.validation.evidence import measure_evidence
    from traitvec_core.validation.measure_vectors import method_options

    known = manifest.recommended
    if chosen is None or (known is not None and known.place == chosen.place):
        return None
    examples = read_examples(folder, settings)
    return measure_evidence(examples, *chosen.place, options=method_options(settings))


def _refusal_vectors(
    folder: TraitFolder, settings: ExperimentSettings
) -> "Callable[[int], torch.Tensor | None]":
    """Returns the experiment's refusal vector at a layer, where there is one of this model."""
    from traitvec_core.models.files import is_same_model
    from traitvec_core.storage.manifests import ActivationsManifest

    def at(layer: int) -> "torch.Tensor | None":
        # Only a figure in passing, so a refusal trait that is not made yet or broken is none.
        # It is no input of the stage either: a new refusal vector must not make it stale.
        with suppress(TraitvecError):
            refusal = folder.sibling("refusal")
            if folder.name == "refusal" or refusal.provenance("vectors") is None:
                return None
            read = refusal.manifest(ActivationsManifest, check_files=False)
            if is_same_model(settings.model, read.model, read.model_revision):
                return refusal.read_vector("mean_diff", layer)
        return None

    return at


def _vectors(folder: TraitFolder, rows: "list[VectorRow]") -> "list[TraitVector]":
    """The vectors to choose from: none at the embeddings, where only words are."""
    from traitvec_core.vectors import TraitVector

    vectors = [
        TraitVector(
            method=row.method,
            layer=row.layer,
            vector=folder.read_vector(row.method, row.layer),
            vector_norm=row.vector_norm,
            raw_norm=row.raw_norm,
            relative_norm=row.relative_norm,
            separation=row.separation,
            train_accuracy=row.train_accuracy,
        )
        for row in rows
        if row.layer != 0 and row.method != "random"
    ]
    if not vectors:
        raise TraitvecError("there is no vector to steer with: name layers above 0, and a method")
    return vectors


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    vectors = content_of(folder, "vectors")
    if not settings.steering.evaluate:
        return vectors
    named = settings.steering.side_effects
    if settings.steering.evaluate == "auto":
        vectors |= _forecast_input(folder)
    # With `auto`, a trait that is added later must not make this one stale.
    others = {} if named == "auto" else other_traits(folder, named)
    return {
        **answering_inputs(folder, settings, others),
        "eval_questions": content_hash("\n".join(folder.definition().eval_questions)),
        **rubric_inputs(others),
        **vectors,
    }


def _forecast_input(folder: TraitFolder) -> dict[str, str]:
    """What `auto` decides by."""
    from traitvec_core.validation.steering import ForecastOfVectors

    forecast = folder.manifest(ForecastOfVectors, check_files=False).forecast
    return {"is_hopeless": str(forecast is not None and forecast.is_hopeless)}


def _estimate(
    folder: TraitFolder, settings: ExperimentSettings, store: "JudgementStore"
) -> "list[JudgingCost]":
    from traitvec_core.judging.cost_estimate import estimate_longest
    from traitvec_core.steering_evaluation.evaluate import response_counts
    from traitvec_core.steering_evaluation.questions import choose_questions

    definition, steering = folder.definition(), settings.steering
    asked = choose_questions(
        definition, steering.n_search, steering.n_held_out, settings.sampling.seed
    )
    counts = response_counts(len(asked.held_out), steering)
    others = side_effect_traits(folder, settings)
    return estimate_longest(
        folder.name, definition, settings, store, "steering", asked.held_out, sum(counts),
        others=others, n_others=counts.measured,
    )  # fmt: skip


def _elsewhere(folder: TraitFolder, settings: ExperimentSettings) -> list[str]:
    named = settings.steering.side_effects
    if not settings.steering.evaluate:
        return []
    if named == "auto":
        # All traits of the experiment, also those that this machine has not seen.
        return [folder.experiment]
    return [f"{folder.experiment}/{name}" for name in (*named, "refusal")]


SPEC = StageSpec(
    name="steering_evaluation",
    upstream=("definition", "vectors"),
    version="3",
    settings=(
        *MODEL_SETTINGS,
        *PROMPT_SETTINGS,
        "sampling",
        "min_coherence",
        *JUDGE_SETTINGS,
        "steering",
    ),
    inputs=_inputs,
    elsewhere=_elsewhere,
    make=make_steering_evaluation,
    place=reading_place,
    is_on=lambda settings: bool(settings.steering.evaluate),
    estimate=_estimate,
)
