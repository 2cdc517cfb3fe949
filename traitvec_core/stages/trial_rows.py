"""Responses that trials have generated, for later trials and for the run that follows.

A response depends on its id, its texts, the sampling and the model. So a row of a trial is a row of
any plan that has the same id with the same texts, however many examples that plan has, and whatever
else in the definition was reworded since.
"""

import json
from collections.abc import Iterable
from typing import Any

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.plan import PlannedResponse
from traitvec_core.stages.inputs import model_input
from traitvec_core.stages.spec import StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.journal import Journal
from traitvec_core.storage.provenance import content_hash

__all__ = ["rows_of_trial", "trial_journal"]


def trial_journal(folder: TraitFolder, settings: ExperimentSettings, spec: StageSpec) -> Journal:
    """Return where the responses of trials are kept, under this model and these settings.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        spec: The stage `responses`.
    """
    shared = {name: v for name, v in spec.settings_of(settings).items() if name != "n_examples"}
    determinants = [spec.version, model_input(settings), shared]
    key = content_hash(json.dumps(determinants, sort_keys=True))
    return folder.trial_journal(key)


def rows_of_trial(
    folder: TraitFolder,
    settings: ExperimentSettings,
    spec: StageSpec,
    planned: Iterable[PlannedResponse],
) -> list[dict[str, Any]]:
    """Return the planned rows that a trial has generated, as `generate_responses` reported them."""
    rows = trial_journal(folder, settings, spec).rows()
    by_texts = {
        (row.get("question_id"), row.get("question"), row.get("instruction")): row for row in rows
    }
    wanted = ((item.question_id, item.question, item.instruction) for item in planned)
    return [by_texts[texts] for texts in wanted if texts in by_texts]
