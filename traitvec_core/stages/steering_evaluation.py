"""What the vectors do when they are added to the model."""

from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import (
    answering_inputs,
    content_of,
    other_traits,
    rubric_inputs,
)
from traitvec_core.stages.judged_responses import is_about_refusing
from traitvec_core.stages.spec import JUDGE_SETTINGS, MODEL_SETTINGS, StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_csv
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    from traitvec_core.judging.cost_estimate import JudgingCost
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_core.steering_evaluation.result import SteeringEvaluation
    from traitvec_core.vectors import TraitVector

__all__ = ["SPEC", "make_steering_evaluation", "steering_of"]

_OF_VECTOR = ("method", "layer", "vector_norm", "raw_norm", "relative_norm", "separation",
              "train_accuracy")  # fmt: skip


def make_steering_evaluation(context: StageContext) -> StageOutput:
    """Choose layer, method and coefficient by what they do, and report on other questions."""
    from traitvec_core.judging.judgement_store import Origin
    from traitvec_core.steering_evaluation.evaluate import evaluate_steering
    from traitvec_core.steering_evaluation.result import SteeringOptions
    from traitvec_core.validation.separation import Separation

    settings, folder = context.settings, context.folder
    if not settings.steering.evaluate:
        return {}, {"is_evaluated": False}
    definition = folder.definition()
    manifest = folder.metadata("vectors")
    chosen = settings.steering
    journal = folder.journal("steering_evaluation", context.provenance.key)

    def progress(done: int, total: int, note: str) -> None:
        context.bench.progress("steering_evaluation", done, total, note)

    with context.open_judgements() as store:
        # Every trial waits for the one before it: batches would take days.
        judge = context.load_judge(store, is_live=True)
        found = evaluate_steering(
            context.generator(), judge, definition, _vectors(folder, manifest["vectors"]),
            Separation.model_validate(manifest["separation"]), settings.sampling,
            options=SteeringOptions(
                n_search=chosen.n_search, n_held_out=chosen.n_held_out, n_random=chosen.n_random,
                min_coherence=settings.min_coherence,
            ),
            also=other_traits(folder, chosen.side_effects), store=store,
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


def steering_of(folder: TraitFolder) -> "SteeringEvaluation | None":
    """The evaluation that a trait has; None where steering was not evaluated.

    Raises:
        TraitvecError: If the stage has not been made.
    """
    from traitvec_core.steering_evaluation.result import SteeringEvaluation

    raw = folder.metadata("steering_evaluation")
    return SteeringEvaluation.model_validate(raw) if raw["is_evaluated"] else None


def _vectors(folder: TraitFolder, rows: list[dict[str, object]]) -> "list[TraitVector]":
    """Every vector that may be chosen: none of the embeddings, where only words are."""
    from traitvec_core.vectors import TraitVector

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


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    vectors = content_of(folder, "vectors")
    if not settings.steering.evaluate:
        return vectors
    return {
        **answering_inputs(folder, settings),
        "eval_questions": content_hash("\n".join(folder.definition().eval_questions)),
        **rubric_inputs(other_traits(folder, settings.steering.side_effects)),
        **vectors,
    }


def _estimate(
    folder: TraitFolder, settings: ExperimentSettings, store: "JudgementStore"
) -> "list[JudgingCost]":
    from traitvec_core.judging.cost_estimate import estimate_longest
    from traitvec_core.steering_evaluation.evaluate import most_responses

    definition = folder.definition()
    questions = definition.eval_questions or definition.questions
    searched, held_out = most_responses(len(questions), settings.steering)
    others = other_traits(folder, settings.steering.side_effects)
    return [
        estimate_longest(
            folder.name, definition, settings, store, "steering", questions,
            searched + sum(held_out),
            # Side effects are measured without steering and under the chosen dose.
            others=others.values(), n_others=sum(held_out[:2]),
        )
    ]  # fmt: skip


SPEC = StageSpec(
    name="steering_evaluation",
    upstream=("definition", "vectors"),
    version="1",
    settings=(
        *MODEL_SETTINGS,
        "instruction_role",
        "sampling",
        "min_coherence",
        *JUDGE_SETTINGS,
        "steering",
    ),
    inputs=_inputs,
    make=make_steering_evaluation,
    place=lambda settings: "gpu",
    is_on=lambda settings: settings.steering.evaluate,
    estimate=_estimate,
)
