"""Plan an import of a persona-vectors folder: read and check everything, write nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.exchange.model_files import model_file, model_shape
from traitvec_core.exchange.persona_definition import read_definition
from traitvec_core.exchange.persona_folder import (
    LeftOut,
    PersonaFiles,
    find_persona_files,
    nearest,
)
from traitvec_core.exchange.persona_table import JudgedTable, read_judged
from traitvec_core.exchange.source_vectors import SourceVectors, read_source_vectors
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.trait import Pole, TraitDefinition

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImportPlan", "PlannedTrait", "plan_import"]

_MAX_PROBLEMS = 3


@dataclass(frozen=True)
class PlannedTrait:
    """One trait of a persona-vectors folder, read and checked.

    Attributes:
        name: The trait, in lower case.
        definition: Its definition.
        data: The definition's bytes, as they will be written.
        table: Judged responses of both poles, with `thinking`; None if there is only a definition.
        hashes: Of the tables, by file name.
        vectors: By position.
        notes: What to know of the trait, one line each.
    """

    name: str
    definition: TraitDefinition
    data: bytes
    table: "pd.DataFrame | None"
    hashes: dict[str, str]
    vectors: dict[str, SourceVectors]
    notes: tuple[str, ...]

    @property
    def n_responses(self) -> int:
        """Number of judged responses of both poles; 0 if there is only a definition."""
        return 0 if self.table is None else len(self.table)

    @property
    def n_missing(self) -> dict[str, int]:
        """Number of responses without a score, by kind: `trait` and `coherence`."""
        kinds = ("trait", "coherence")
        if self.table is None:
            return dict.fromkeys(kinds, 0)
        return {kind: int(self.table[f"{kind}_score"].isna().sum()) for kind in kinds}

    @property
    def n_thinking(self) -> int:
        """Number of responses whose thinking was split off."""
        return 0 if self.table is None else int((self.table["thinking"] != "").sum())


@dataclass(frozen=True)
class ImportPlan:
    """What an import will write, and what it will leave out.

    Attributes:
        traits: The traits to write.
        left_out: What should have been imported and cannot be, with the reasons.
        unused: Other data files of the folder, with the reasons.
        model_shape: (n_layers, hidden_dim) of the experiment's model, with the embedding output
            among the layers; None if its config is not on this machine, so that no vector's shape
            was checked.
        has_tokenizer: Whether the model's tokenizer is on this machine, to count tokens with.
    """

    traits: tuple[PlannedTrait, ...]
    left_out: tuple[LeftOut, ...]
    unused: tuple[LeftOut, ...]
    model_shape: tuple[int, int] | None
    has_tokenizer: bool


def plan_import(
    source: Path,
    experiment: ExperimentFolder,
    settings: ExperimentSettings,
    *,
    traits: Sequence[str] | None = None,
    from_model: str | None = None,
) -> ImportPlan:
    """Read and check traits of a persona-vectors folder; writes nothing.

    Args:
        source: The folder.
        experiment: The experiment to import into; it may have other traits already.
        settings: Its settings. The model should be the one that generated the responses.
        traits: Names of the traits; all by default.
        from_model: Name of the model's folder with the tables and vectors, if there are several.

    Raises:
        TraitvecError: If the folder is none, or has no such trait or model.
    """
    files = find_persona_files(source, from_model)
    names = list(dict.fromkeys(traits)) if traits is not None else list(files.traits)
    left_out = [item for item in files.left_out if traits is None or item.trait in names]
    for name in names:
        if name not in files.traits and not any(item.trait == name for item in left_out):
            near = nearest(name, files.traits)
            there = f"there is {near}" if near else f"available: {', '.join(files.traits)}"
            raise TraitvecError(
                f"{display_path(source)}: there is no definition of {name!r}; {there}"
            )
    shape = model_shape(settings.model)
    planned = []
    for name in [name for name in names if name in files.traits]:
        folder = experiment.trait(name).path
        if folder.exists():
            why = "already exists; import into another experiment, or remove it first"
            left_out.append(LeftOut(name, display_path(folder), why))
            continue
        item, without = _plan_trait(name, files.traits[name], shape, settings.model)
        if item is not None and item.table is not None and settings.elicitation == "scenarios":
            raise TraitvecError(
                f"{display_path(experiment.path)} has elicitation: scenarios, and instructions"
                f" elicited the responses of {name!r}; import them into another experiment"
            )
        planned += [item] if item is not None else []
        left_out += without
    has_tokenizer = model_file(settings.model, "tokenizer.json") is not None
    return ImportPlan(tuple(planned), tuple(left_out), tuple(files.unused), shape, has_tokenizer)


def _plan_trait(
    name: str, files: PersonaFiles, shape: tuple[int, int] | None, model: str
) -> tuple[PlannedTrait | None, list[LeftOut]]:
    import pandas as pd

    try:
        data, definition, left_out = read_definition(name, files)
    except DefinitionError as error:
        return None, [LeftOut(name, error.where, _described(error))]
    notes = []
    if files.definition.stem != name:
        notes.append(f"{files.definition.name} becomes the trait {name}: names are in lower case")
    tables, without = _read_tables(name, files, definition)
    left_out += without
    vectors = {}
    for position, path in files.vectors.items():
        try:
            vectors[position] = read_source_vectors(path, shape)
        except TraitvecError as error:
            where, _, why = str(error).partition(": ")
            left_out.append(LeftOut(name, where, why))
            continue
        made_with = vectors[position].model
        if made_with not in (None, model):
            notes.append(
                f"vectors {position} are of {made_with!r}; the experiment's model is {model}"
            )
    # Positives first, as in all tables.
    frames = [tables[pole].rows for pole in ("pos", "neg")] if tables else []
    planned = PlannedTrait(
        name,
        definition,
        data,
        pd.concat(frames, ignore_index=True) if frames else None,
        {files.tables[pole].name: content_hash(table.data) for pole, table in tables.items()},
        vectors,
        (),
    )
    if planned.n_thinking:
        notes.append(
            f"thinking was split off {planned.n_thinking} answers; their scores may be those of the"
            " whole text"
        )
    return replace(planned, notes=tuple(notes)), left_out


def _read_tables(
    name: str, files: PersonaFiles, definition: TraitDefinition
) -> tuple[dict[Pole, JudgedTable], list[LeftOut]]:
    """Return both poles' tables, or none, and what is left out."""
    tables: dict[Pole, JudgedTable] = {}
    left_out = []
    for pole, path in files.tables.items():
        where = display_path(path)
        try:
            tables[pole] = table = read_judged(path, name, pole, definition)
        except DefinitionError as error:
            left_out.append(LeftOut(name, where, _described(error)))
            continue
        for count, why in (
            (table.n_unfinished, "no answer after the thinking"),
            (table.n_leaked, "marks of thinking inside the answer"),
        ):
            if count:
                left_out.append(
                    LeftOut(name, f"{where}, {count} {'row' if count == 1 else 'rows'}", why)
                )
    if len(tables) == 1:
        (pole,) = tables
        why = "the other pole's table " + (
            "cannot be used" if len(files.tables) == 2 else "is missing; add it"
        )
        left_out.append(LeftOut(name, display_path(files.tables[pole]), why))
        return {}, left_out
    return tables, left_out


def _described(error: DefinitionError) -> str:
    n_more = len(error.problems) - _MAX_PROBLEMS
    more = f"; and {n_more} more problems" if n_more > 0 else ""
    return "; ".join(error.problems[:_MAX_PROBLEMS]) + more
