"""Stage 1a: responses of the model under both instructions, or after both openings."""

from typing import TYPE_CHECKING, Any

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.response_ids import ResponseIds
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import model_input
from traitvec_core.stages.spec import (
    MODEL_SETTINGS,
    PROMPT_SETTINGS,
    StageSpec,
    generation_place,
)
from traitvec_core.stages.trial_rows import rows_of_trial
from traitvec_core.storage.files import GENERATED_IDS_FILE
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_token_ids, response_csvs
from traitvec_core.storage.journal import Journal
from traitvec_core.storage.manifests import ResponsesManifest

if TYPE_CHECKING:
    from traitvec_core.generation.plan import PlannedResponse

__all__ = ["SPEC", "make_responses"]


def make_responses(context: StageContext) -> StageOutput:
    """Generate what was planned; rows are kept as they finish."""
    from traitvec_core.generation import generate_responses, plan_responses
    from traitvec_core.validation.response_counts import count_responses

    settings = context.settings
    definition = context.folder.definition()
    planned = plan_responses(
        context.folder.name, definition, settings.n_examples, settings.elicitation
    )
    journal = context.folder.journal("responses", context.provenance.key)
    finished = _finished(context, journal, planned)
    kept = list(finished)
    done = len(finished)
    context.bench.progress("responses", done, len(planned))

    def keep(rows: list[dict[str, Any]]) -> None:
        nonlocal done
        journal.append(rows)
        kept.extend(rows)
        done += len(rows)
        context.bench.progress("responses", min(done, len(planned)), len(planned))

    engine = context.engine()
    try:
        responses = generate_responses(
            engine,
            planned,
            settings.sampling,
            elicited_by=settings.elicitation,
            instruction_role=settings.instruction_role,
            finished=finished,
            on_batch=keep,
        )
    finally:
        engine.close()
    model = engine.language_model
    context.cost.tokens_in = int(responses["prompt_tokens"].sum())
    context.cost.tokens_out = int(responses["response_tokens"].sum())
    manifest = ResponsesManifest(
        model=settings.model,
        engine=engine.name,
        **engine.as_loaded,
        elicitation=settings.elicitation,
        instruction_role=model.text_role(settings.elicitation, settings.instruction_role),
        n_examples=settings.n_examples,
        counts=count_responses(responses),
        resumed_from=len(finished),
        model_load_seconds=round(model.load_seconds, 3),
    )
    files = response_csvs(responses, "raw_") | _token_ids(kept, responses["question_id"].tolist())
    return files, manifest.model_dump(exclude_unset=True)


def _finished(
    context: StageContext, journal: Journal, planned: "list[PlannedResponse]"
) -> list[dict[str, Any]]:
    """Return rows of an interrupted run, and those that a trial has generated."""
    rows = journal.rows()
    if context.redo is not None:
        return rows
    known = {row["question_id"] for row in rows}
    trial = rows_of_trial(context.folder, context.settings, SPEC, planned)
    return [*rows, *(row for row in trial if row["question_id"] not in known)]


def _token_ids(rows: list[dict[str, Any]], order: list[str]) -> dict[str, bytes]:
    """Return the file of generated tokens, in the order of the plan; none if none are known."""
    by_name = {row["question_id"]: row for row in rows if "token_ids" in row}
    ids = {
        name: ResponseIds(tuple(by_name[name]["token_ids"]), by_name[name]["n_thinking"])
        for name in order
        if name in by_name
    }
    return {GENERATED_IDS_FILE: dump_token_ids(ids)} if ids else {}


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    elicitation = folder.definition().elicitation_hash(settings.elicitation)
    return {"elicitation": elicitation, **model_input(settings)}


SPEC = StageSpec(
    name="responses",
    upstream=("definition",),
    version="3",
    settings=(*MODEL_SETTINGS, "engine", "n_examples", *PROMPT_SETTINGS, "sampling"),
    inputs=_inputs,
    make=make_responses,
    place=generation_place,
)
