"""Import a persona-vectors folder; the pipeline continues from its judged responses."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.exchange.import_plan import ImportPlan, PlannedTrait, plan_import
from traitvec_core.exchange.imported_vectors import keep_imported_vectors
from traitvec_core.exchange.model_files import model_file
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages.provenance import current_key
from traitvec_core.storage.files import DEFINITION_FILE
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.formats import response_csvs
from traitvec_core.storage.provenance import Provenance
from traitvec_core.storage.response_tables import judged_columns, names_of, response_columns
from traitvec_core.storage.trait_lock import changing_trait

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["import_persona_vectors", "write_import"]


def import_persona_vectors(
    source: Path,
    experiment: ExperimentFolder,
    settings: ExperimentSettings,
    *,
    traits: Sequence[str] | None = None,
    from_model: str | None = None,
) -> ImportPlan:
    """Import what can be used of a persona-vectors folder; see `plan_import` and `write_import`.

    Returns:
        What was written, and what was left out with the reasons.

    Raises:
        TraitvecError: If the folder is none, or has no such trait or model.
    """
    plan = plan_import(source, experiment, settings, traits=traits, from_model=from_model)
    write_import(plan, experiment, settings)
    return plan


def write_import(
    plan: ImportPlan, experiment: ExperimentFolder, settings: ExperimentSettings
) -> None:
    """Write the traits of a plan.

    Imported tables replace the results of `responses` and `judged_responses` under the experiment's
    settings: they are fresh until those settings or the definition change.

    Args:
        plan: The plan, made for this experiment and these settings.
        experiment: The experiment.
        settings: Its settings.

    Raises:
        TraitvecError: If a process works in one of the traits; then nothing was written.
    """
    count = _token_counter(settings.model) if plan.has_tokenizer else None
    with ExitStack() as locks:
        for item in plan.traits:
            path = experiment.trait(item.name).path
            locks.enter_context(changing_trait(path, "an import", "cannot be imported now"))
        for item in plan.traits:
            folder = experiment.trait(item.name)
            folder.write(DEFINITION_FILE, item.data)
            if item.vectors:
                keep_imported_vectors(folder, item.vectors)
            if item.table is not None:
                _write_responses(folder, settings, item, _prepared(item.table, count))


def _prepared(table: "pd.DataFrame", count: Callable[[str], int] | None) -> "pd.DataFrame":
    """Return a table as our own stages write it: with counts, `thinking` only if there is some."""
    has_thinking = bool((table["thinking"] != "").any())
    if count is not None:
        # As for our own responses, thinking counts.
        n_thinking = table["thinking"].map(count)
        table = table.assign(
            prompt_tokens=table["prompt"].map(count),
            response_tokens=table["response"].map(count) + n_thinking,
        )
    return table if has_thinking else table.drop(columns="thinking")


def _write_responses(
    folder: TraitFolder, settings: ExperimentSettings, item: PlannedTrait, table: "pd.DataFrame"
) -> None:
    from traitvec_core.validation.response_counts import count_responses

    judged_only = set(names_of(judged_columns())) - set(names_of(response_columns()))
    raw = table.drop(columns=list(judged_only))
    _commit(folder, settings, "responses", response_csvs(raw, "raw_"), item.hashes, {
        "model": settings.model, "engine": "imported", "model_revision": None,
        "instruction_role": "imported", "n_examples": int((table["pole"] == "pos").sum()),
        "counts": count_responses(raw), "resumed_from": 0, "model_load_seconds": 0.0,
    })  # fmt: skip
    reasons = {
        score: table.loc[table[column] != "", column].value_counts().to_dict()
        for score, column in (("trait", "judge_reason"), ("coherence", "coherence_reason"))
    }
    _commit(folder, settings, "judged_responses", response_csvs(table, ""), item.hashes, {
        "judge_model": "imported", "judge": {"model": "imported", "scoring": "imported"},
        "judge_mode": "imported",
        "trait_status": table["judge_status"].value_counts().to_dict(),
        "coherence_status": table["coherence_status"].value_counts().to_dict(),
        "missing_reasons": reasons, "also_judged": [], "asked_now": 0,
        "paid_now": {"usd": 0.0}, "unfinished": {}, "experiment_spent_usd": 0.0, "compared": [],
    })  # fmt: skip


def _commit(
    folder: TraitFolder,
    settings: ExperimentSettings,
    stage: Stage,
    files: Mapping[str, bytes],
    hashes: dict[str, str],
    metadata: Mapping[str, Any],
) -> None:
    # The key is that of the stage's own result, so that the import counts as fresh. Inputs and
    # settings record what was really imported.
    key = current_key(stage, folder, settings)
    provenance = Provenance(
        stage=stage, key=key, inputs=hashes, settings={"imported_from": "persona-vectors"}
    )
    folder.commit(stage, files, metadata, provenance)


def _token_counter(model: str) -> Callable[[str], int] | None:
    """Return a function that counts tokens; None if the tokenizer is not on this machine."""
    path = model_file(model, "tokenizer.json")
    if path is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(json.loads(path.read_bytes())))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
