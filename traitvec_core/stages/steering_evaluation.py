"""Steering on disk: what the vectors do when they are added to the model."""

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore, Origin
from traitvec_core.judging.load import load_judge
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import side_effects
from traitvec_core.stages.judged_responses import is_about_refusing
from traitvec_core.steering_evaluation.evaluate import SteeringPlan, evaluate_steering
from traitvec_core.steering_evaluation.result import SteeringManifest, SteeringOptions
from traitvec_core.steering_evaluation.trials import TrialLog, TrialSetup
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_csv
from traitvec_core.validation.manifests import VectorRow, VectorsManifest
from traitvec_core.vectors import TraitVector

__all__ = ["make_steering_evaluation"]


def make_steering_evaluation(context: StageContext) -> StageOutput:
    """Choose layer, method and coefficient by what they do, and report on other questions."""
    settings, folder = context.settings, context.folder
    if not settings.steering.evaluate:
        return {}, {"is_evaluated": False}
    definition = folder.definition()
    manifest = folder.manifest(VectorsManifest)
    journal = folder.journal("steering_evaluation", context.provenance.key)

    def progress(done: int, total: int, note: str) -> None:
        context.bench.progress("steering_evaluation", done, total, note)

    with JudgementStore(folder.path.parent.parent / JUDGEMENTS_FILE) as store:
        judge = load_judge(
            # Every trial waits for the one before it: batches would take days.
            settings.model_copy(update={"judge_mode": "live"}), store, load_model=context.judge,
            experiment=folder.experiment, say=context.bench.say,
        )  # fmt: skip
        setup = TrialSetup(
            context.generator(), judge, definition, settings.sampling,
            store=store, origin=Origin(folder.experiment, folder.name),
            is_about_refusing=is_about_refusing(folder.name, definition),
            instruction_role=settings.instruction_role, batch_size=context.batch_size,
        )  # fmt: skip
        plan = SteeringPlan(
            _vectors(folder, manifest.vectors), manifest.separation,
            SteeringOptions(
                n_search=settings.steering.n_search, n_held_out=settings.steering.n_held_out,
                n_random=settings.steering.n_random, min_coherence=settings.min_coherence,
            ),
            side_effects(folder, settings),
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
        is_evaluated=True, judge_model=judge.name, experiment_spent_usd=round(spent_usd, 6)
    )
    return {"steering/responses.csv": dump_csv(evaluation.responses)}, {
        **record.model_dump(),
        **evaluation.model_dump(mode="json"),
    }


def _vectors(folder: TraitFolder, rows: list[VectorRow]) -> list[TraitVector]:
    """The vectors to choose from: none at the embeddings, where only words are."""
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
