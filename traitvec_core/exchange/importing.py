"""Import a persona-vectors folder; the pipeline continues from its judged responses."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import model_file
from traitvec_core.exchange.file_formats.persona_vectors import read_persona_tensor
from traitvec_core.exchange.file_formats.pt_archive import read_record
from traitvec_core.exchange.imported_vectors import keep_imported_vectors, source_verdict
from traitvec_core.exchange.persona_folder import (
    PersonaFiles,
    find_persona_files,
    read_definition,
    read_judged,
)
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages.provenance import current_key
from traitvec_core.storage.files import display_path, write_atomically
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.formats import response_csvs
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.storage.provenance import Provenance, content_hash

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from traitvec_core.trait import TraitDefinition

__all__ = ["ImportedTrait", "import_persona_vectors"]


@dataclass(frozen=True)
class ImportedTrait:
    """One trait of a persona-vectors folder.

    Attributes:
        name: The trait.
        definition: Its definition.
        n_responses: Number of judged responses of both poles; 0 if there is only a definition.
        n_unscored: Number of responses without a trait score.
        vectors: Positions of the imported vectors.
        source_verdicts: By position, the verdict and its reasons that the source gave the vectors,
            if traitvec exported them.
        has_token_counts: Whether tokens were counted, which needs the model's tokenizer here.
    """

    name: str
    definition: "TraitDefinition"
    n_responses: int
    n_unscored: int
    vectors: tuple[str, ...]
    has_token_counts: bool
    source_verdicts: dict[str, tuple[VectorVerdict | None, tuple[str, ...]]]


@dataclass(frozen=True)
class _CheckedFiles:
    """The content of a trait's files, read and checked before anything is written."""

    definition: "TraitDefinition"
    data: bytes
    table: "pd.DataFrame | None"
    tables: dict[str, bytes]
    tensors: "dict[str, torch.Tensor]"
    sources: dict[str, dict[str, Any]]


def import_persona_vectors(
    source: Path,
    experiment: ExperimentFolder,
    settings: ExperimentSettings,
    *,
    traits: Sequence[str] | None = None,
    from_model: str | None = None,
) -> list[ImportedTrait]:
    """Import traits of a persona-vectors folder. All are checked before any is written.

    Imported tables replace the results of `responses` and `judged_responses` under the experiment's
    settings: they are fresh until those settings or the definition change.

    Args:
        source: The folder.
        experiment: The experiment to import into; it may have other traits already.
        settings: Its settings. The model should be the one that generated the responses.
        traits: Names of the traits; all by default.
        from_model: Name of the model's folder with the tables and vectors, if there are several.

    Raises:
        TraitvecError: If a file is not valid, or the experiment already has a trait of this name.
    """
    files_by_trait = find_persona_files(source, from_model)
    names = list(traits) if traits is not None else list(files_by_trait)
    for name in names:
        if name not in files_by_trait:
            raise TraitvecError(
                f"{display_path(source)}: there is no definition of {name!r}; available:"
                f" {', '.join(files_by_trait)}"
            )
        if experiment.trait(name).path.exists():
            raise TraitvecError(
                f"{display_path(experiment.trait(name).path)} already exists; import into another"
                " experiment, or remove it first"
            )
    count = _token_counter(settings.model)
    read = {name: _read(name, files_by_trait[name]) for name in names}
    return [_write(experiment.trait(name), settings, read[name], count) for name in names]


def _read(name: str, files: PersonaFiles) -> _CheckedFiles:
    import pandas as pd

    data, definition = read_definition(files)
    if len(files.tables) == 1:
        (path,) = files.tables.values()
        raise TraitvecError(f"{display_path(path)}: the other pole's table is missing; add it")
    poles = {pole: read_judged(path, name, pole, definition) for pole, path in files.tables.items()}
    tensors, sources = {}, {}
    for position, path in files.vectors.items():
        raw = path.read_bytes()
        tensors[position] = read_persona_tensor(raw, display_path(path))
        sources[position] = {"file": path.name, "sha256": content_hash(raw), **_source_verdict(raw)}
    return _CheckedFiles(
        definition,
        data,
        # Positives first, as in all tables.
        pd.concat([poles["pos"][0], poles["neg"][0]], ignore_index=True) if poles else None,
        {files.tables[pole].name: raw for pole, (_, raw) in poles.items()},
        tensors,
        sources,
    )


def _source_verdict(raw: bytes) -> dict[str, Any]:
    """The verdict on the vectors of a file that traitvec exported; empty without one."""
    traits = (read_record(raw) or {}).get("traits")
    records = list(traits.values()) if isinstance(traits, dict) else []
    if len(records) != 1 or not isinstance(records[0], dict):
        return {}
    verdict, reasons = source_verdict(records[0].get("recommended"))
    return {} if verdict is None else {"verdict": verdict, "reasons": list(reasons)}


def _write(
    folder: TraitFolder,
    settings: ExperimentSettings,
    read: _CheckedFiles,
    count: Callable[[str], int] | None,
) -> ImportedTrait:
    from traitvec_core.judging.judge import JUDGED_COLUMNS
    from traitvec_core.validation.response_counts import count_responses

    write_atomically(folder.definition_path, read.data)
    if read.tensors:
        keep_imported_vectors(folder, read.tensors, read.sources)
    table = read.table
    if table is not None:
        if count is not None:
            table["prompt_tokens"] = table["prompt"].map(count)
            table["response_tokens"] = table["response"].map(count)
        hashes = {name: content_hash(data) for name, data in read.tables.items()}
        raw = table.drop(columns=[name for name in JUDGED_COLUMNS if name in _JUDGED_ONLY])
        _commit(folder, settings, "responses", response_csvs(raw, "raw_"), hashes, {
            "model": settings.model, "engine": "imported", "model_revision": None,
            "instruction_role": "imported", "n_examples": int((table["pole"] == "pos").sum()),
            "counts": count_responses(raw), "resumed_from": 0, "model_load_seconds": 0.0,
        })  # fmt: skip
        reasons = {
            score: table.loc[table[column] != "", column].value_counts().to_dict()
            for score, column in (("trait", "judge_reason"), ("coherence", "coherence_reason"))
        }
        _commit(folder, settings, "judged_responses", response_csvs(table, ""), hashes, {
            "judge_model": "imported", "judge": {"model": "imported", "scoring": "imported"},
            "judge_mode": "imported",
            "trait_status": table["judge_status"].value_counts().to_dict(),
            "coherence_status": table["coherence_status"].value_counts().to_dict(),
            "missing_reasons": reasons, "also_judged": [], "asked_now": 0,
            "paid_now": {"usd": 0.0}, "unfinished": {}, "experiment_spent_usd": 0.0, "compared": [],
        })  # fmt: skip
    return ImportedTrait(
        folder.name,
        read.definition,
        0 if table is None else len(table),
        0 if table is None else int(table["trait_score"].isna().sum()),
        tuple(sorted(read.tensors)),
        count is not None,
        {
            position: source_verdict(source)
            for position, source in read.sources.items()
            if "verdict" in source
        },
    )


_JUDGED_ONLY = {
    "trait_score", "coherence_score", "judge_model", "judge_status", "judge_reason",
    "coherence_status", "coherence_reason",
}  # fmt: skip


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
