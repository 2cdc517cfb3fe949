"""Steering on disk: what the vectors do when they are added to the model."""

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore, Origin
from traitvec_core.judging.load import load_judge
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import side_effects
from traitvec_core.stages.judged_responses import is_about_refusing
from traitvec_core.steering_evaluation.evaluate import evaluate_steering
from traitvec_core.steering_evaluation.result import SteeringEvaluation, SteeringOptions
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_csv
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors import TraitVector

__all__ = ["make_steering_evaluation", "steering_of"]

_OF_VECTOR = ("method", "layer", "vector_norm", "raw_norm", "relative_norm", "separation",
              "train_accuracy")  # fmt: skip


def make_steering_evaluation(context: StageContext) -> StageOutput:
    """Choose layer, method and coefficient by what they do, and report on other questions."""
    settings, folder = context.settings, context.folder
    if not settings.steering.evaluate:
        return {}, {"is_evaluated": False}
    definition = folder.definition()
    manifest = folder.metadata("vectors")
    chosen = settings.steering
    journal = folder.journal("steering_evaluation", context.provenance.key)

    def progress(done: int, total: int, note: str) -> None:
        context.bench.progress("steering_evaluation", done, total, note)

    with JudgementStore(folder.path.parent.parent / JUDGEMENTS_FILE) as store:
        judge = load_judge(
            # Every trial waits for the one before it: batches would take days.
            settings.model_copy(update={"judge_mode": "live"}), store, load_model=context.judge,
            experiment=folder.experiment, say=context.bench.say,
        )  # fmt: skip
        found = evaluate_steering(
            context.generator(), judge, definition, _vectors(folder, manifest["vectors"]),
            Separation.model_validate(manifest["separation"]), settings.sampling,
            options=SteeringOptions(
                n_search=chosen.n_search, n_held_out=chosen.n_held_out, n_random=chosen.n_random,
                min_coherence=settings.min_coherence,
            ),
            also=side_effects(folder, settings), store=store,
            origin=Origin(folder.experiment, folder.name),
            is_about_refusing=is_about_refusing(folder.name, definition),
            instruction_role=settings.instruction_role, batch_size=context.batch_size,
            finished=journal.rows(), on_finished=journal.append, on_progress=progress,
        )  # fmt: skip
        spent_usd = store.spent_usd(folder.experiment)
    context.provenance.is_complete = not found.unfinished
    context.provenance.cost = found.judging_cost.model_copy(
        update={
            "tokens_in": found.judging_cost.tokens_in + found.tokens_in,
            "tokens_out": found.judging_cost.tokens_out + found.tokens_out,
        }
    )
    return {"steering/responses.csv": dump_csv(found.responses)}, {
        "is_evaluated": True,
        "judge_model": judge.name,
        "experiment_spent_usd": round(spent_usd, 6),
        **found.model_dump(mode="json"),
    }


def steering_of(folder: TraitFolder) -> SteeringEvaluation | None:
    """The evaluation that a trait has; None where steering was not evaluated.

    Raises:
        TraitvecError: If the stage has not been made.
    """
    raw = folder.metadata("steering_evaluation")
    return SteeringEvaluation.model_validate(raw) if raw["is_evaluated"] else None


def _vectors(folder: TraitFolder, rows: list[dict[str, object]]) -> list[TraitVector]:
    """Every vector that may be chosen: none of the embeddings, where only words are."""
    found = [
        TraitVector(
            vector=folder.read_vector(str(row["method"]), int(str(row["layer"]))),
            **{name: row[name] for name in _OF_VECTOR},  # type: ignore[arg-type]
        )
        for row in rows
        if row["layer"] != 0 and row["method"] != "random"
    ]
    if not found:
        raise TraitvecError("there is no vector to steer with: name layers above 0, and a method")
    return found
