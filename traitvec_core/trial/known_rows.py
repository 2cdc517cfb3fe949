"""Responses of a trial that are there already, and those of the run that a trial has made."""

from contextlib import suppress
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.plan import PlannedResponse, plan_responses
from traitvec_core.stages import SPECS
from traitvec_core.stages.inputs import model_input
from traitvec_core.stages.provenance import stage_key
from traitvec_core.stages.trial_rows import rows_of_trial
from traitvec_core.storage.folders import TraitFolder

__all__ = ["count_reused", "known_rows"]


def count_reused(folder: TraitFolder, settings: ExperimentSettings) -> tuple[int, int]:
    """Return how many planned responses of the run are there already, and how many it plans."""
    definition = folder.definition()
    planned = plan_responses(folder.name, definition, settings.n_examples, settings.elicitation)
    return len(rows_of_trial(folder, settings, SPECS["responses"], planned)), len(planned)


def known_rows(
    folder: TraitFolder, settings: ExperimentSettings, planned: list[PlannedResponse]
) -> list[dict[str, Any]]:
    """Return the planned rows that trials, or a run under these settings, have generated."""
    spec = SPECS["responses"]
    rows = {row["question_id"]: row for row in rows_of_trial(folder, settings, spec, planned)}
    by_run = {
        (row["question_id"], row["question"], row["instruction"]): row
        for row in _rows_of_run(folder, settings)
    }
    for item in planned:
        row = by_run.get((item.question_id, item.question, item.instruction))
        if row is not None:
            rows.setdefault(item.question_id, row)
    return list(rows.values())


def _rows_of_run(folder: TraitFolder, settings: ExperimentSettings) -> list[dict[str, Any]]:
    """Return rows of a finished or interrupted run with this model and these settings."""
    spec, made = SPECS["responses"], folder.provenance("responses")
    shared = spec.settings_of(settings)
    key = stage_key("responses", spec.inputs(folder, settings), shared)
    rows = folder.journal("responses", key).rows()
    if made is None or made.key != stage_key("responses", made.inputs, made.settings):
        # Another version made it, and may have made it differently.
        return rows
    is_like = {**made.settings, "n_examples": 0} == {**shared, "n_examples": 0}
    if is_like and made.inputs.get("model") == model_input(settings)["model"]:
        with suppress(TraitvecError):
            committed = folder.read_responses("responses")
            rows += [{str(k): v for k, v in row.items()} for row in committed.to_dict("records")]
    return rows
