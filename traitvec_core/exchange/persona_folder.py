"""Find the files of a persona-vectors folder: definitions, judged tables, vectors.

The persona-vectors repository keeps them in `data_generation/trait_data_extract/` and
`trait_data_eval/`, in `eval_persona_extract/{model}/{trait}_{pos,neg}_instruct.csv` and in
`persona_vectors/{model}/{trait}_{position}_diff.pt`; `traits/`, `eval_traits/`,
`{trait}_{pos,neg}.csv` and, for control vectors, `{trait}.gguf` and `{trait}_{method}.gguf` are
recognised too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, cast, get_args

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path, is_usable
from traitvec_core.trait import Pole, check_name
from traitvec_core.visible_text import one_line

__all__ = ["LeftOut", "PersonaFiles", "PersonaFolder", "find_persona_files", "nearest"]

_DEFINITIONS = {"traits", "trait_data_extract"}
_EVALUATIONS = {"eval_traits", "trait_data_eval"}
_TABLE = re.compile(r"(?P<trait>.+)_(?P<kind>pos|neg)(_instruct)?\.csv", re.IGNORECASE)
_VECTORS = re.compile(
    r"(?P<trait>.+)_(?P<kind>prompt_avg|response_avg|prompt_last)_diff\.pt", re.IGNORECASE
)
# Files that hold nothing to import, however they are called, are not worth a line.
_DATA_SUFFIXES = {".csv", ".json", ".pt", ".gguf"}
_POLE_WORD = re.compile(r"(?<![a-z])(pos|neg|positive|negative)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class LeftOut:
    """Something that an import leaves out.

    Attributes:
        trait: The trait that it belongs to, or seems to belong to; empty if there is none.
        what: The file, or the rows of it.
        why: The reason, with what to do.
    """

    trait: str
    what: str
    why: str

    def __str__(self) -> str:
        """Return one line; names of foreign files may contain what a terminal obeys."""
        return one_line(f"{self.what}: {self.why}")


@dataclass
class PersonaFiles:
    """One trait's files.

    Attributes:
        definition: Instructions, questions and rubric. Its name may have capitals.
        evaluation: The same trait with held-out questions.
        tables: Tables of judged responses, by pole.
        vectors: Tensor files, by position.
    """

    definition: Path
    evaluation: Path | None = None
    tables: dict[Pole, Path] = field(default_factory=dict)
    vectors: dict[str, Path] = field(default_factory=dict)


class Role(NamedTuple):
    """What a file is for: a trait, and `definition`, `evaluation`, a pole or a position."""

    trait: str
    kind: str


@dataclass
class PersonaFolder:
    """What a persona-vectors folder contains.

    Attributes:
        traits: The files of each trait that has a definition, by its name in lower case.
        left_out: Files that look as if they should be imported, and cannot be.
        unused: Other data files, such as those of other models.
    """

    traits: dict[str, PersonaFiles] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    unused: list[LeftOut] = field(default_factory=list)


def find_persona_files(source: Path, from_model: str | None = None) -> PersonaFolder:
    """Find the files of all traits that have a definition below a folder.

    Args:
        source: The folder.
        from_model: Use only tables and vectors in a folder of this name.

    Raises:
        TraitvecError: If the folder has no definition, no tables or vectors of that model, or
            those of several models and none is chosen.
    """
    if not source.is_dir():
        raise TraitvecError(f"{display_path(source)} is not a folder")
    paths = [
        path
        for path in sorted(source.resolve().rglob("*"))
        if path.suffix.lower() in _DATA_SUFFIXES and path.is_file()
    ]
    definitions = [path for path in paths if _is_json_in(path, _DEFINITIONS)]
    if not definitions:
        raise TraitvecError(_no_definition(source, paths))
    folder = PersonaFolder()
    defined = {path: Role(path.stem.lower(), "definition") for path in definitions}
    for role, path in _one_per_role(defined, folder).items():
        try:
            folder.traits[check_name("trait", role.trait)] = PersonaFiles(path)
        except TraitvecError as error:
            folder.left_out.append(LeftOut(role.trait, display_path(path), str(error)))
    evaluations = {
        path: Role(path.stem.lower(), "evaluation")
        for path in paths
        if _is_json_in(path, _EVALUATIONS)
    }
    for role, path in _one_per_role(evaluations, folder).items():
        if role.trait in folder.traits:
            folder.traits[role.trait].evaluation = path
        else:
            folder.unused.append(_without_definition(role.trait, path, folder.traits))
    data = [path for path in paths if path.suffix.lower() != ".json"]
    _assign(
        _of_model(source, data, from_model, folder),
        folder,
        {role.trait for role in defined.values()},
    )
    folder.unused += [
        LeftOut("", display_path(path), "not in a folder traits or trait_data_extract")
        for path in paths
        if path.suffix.lower() == ".json" and path not in defined and path not in evaluations
    ]
    return folder


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that `name` may have been meant to be; None if none is similar."""
    by_folded = {other.casefold(): other for other in names}
    folded = name.casefold()
    if folded in by_folded:
        return by_folded[folded]
    contained = [other for other in by_folded if other in folded]
    close = get_close_matches(folded, by_folded, n=1, cutoff=0.75)
    best = max(contained, key=len, default=None) or next(iter(close), None)
    return None if best is None else by_folded[best]


def _is_json_in(path: Path, folders: set[str]) -> bool:
    return path.suffix.lower() == ".json" and path.parent.name in folders


def _no_definition(source: Path, paths: list[Path]) -> str:
    names = " or ".join(sorted(_DEFINITIONS))
    folders = {path.parent.name for path in paths if path.suffix.lower() == ".json"} - _EVALUATIONS
    near = [match for name in sorted(_DEFINITIONS) if (match := nearest(name, folders))]
    seen = f"; there is a folder {near[0]}" if near else "; is this a persona-vectors folder?"
    return f"{display_path(source)}: no trait definition, a .json file in a folder {names}{seen}"


def _one_per_role(roles: dict[Path, Role], folder: PersonaFolder) -> dict[Role, Path]:
    """Return the file of each role; where several compete, none, unless they are equal."""
    groups: dict[Role, list[Path]] = {}
    for path, role in roles.items():
        groups.setdefault(role, []).append(path)
    chosen = {}
    for role, group in groups.items():
        first, *others = group
        if all(other.read_bytes() == first.read_bytes() for other in others):
            chosen[role] = first
        else:
            shown = " and ".join(map(display_path, group))
            why = "have the same role and differ; leave one in the folder"
            folder.left_out.append(LeftOut(role.trait, shown, why))
    return chosen


def _of_model(
    source: Path, data: list[Path], from_model: str | None, folder: PersonaFolder
) -> list[Path]:
    """Return the tables and vectors of one model; lists those of others as unused.

    Raises:
        TraitvecError: If there are none of this model, or of several.
    """
    roles = _roles(data, folder.traits)
    models = sorted({path.parent.name for path in roles})
    if from_model is None:
        folders: dict[Role, set[str]] = {}
        for path, role in roles.items():
            folders.setdefault(role, set()).add(path.parent.name)
        competing = sorted(set().union(*(names for names in folders.values() if len(names) > 1)))
        if competing:
            raise TraitvecError(
                f"{display_path(source)} has tables or vectors of several models:"
                f" {', '.join(competing)}; choose one with --from-model"
            )
        return data
    if from_model not in models:
        near = nearest(from_model, models)
        there = f"there is {near}" if near else f"there are: {', '.join(models) or 'none'}"
        raise TraitvecError(
            f"{display_path(source)}: no folder {from_model} with tables or vectors; {there}"
        )
    chosen = [path for path in data if path.parent.name == from_model]
    others = sorted({display_path(path.parent) for path in roles if path not in chosen})
    folder.unused += [LeftOut("", other, f"not of --from-model {from_model}") for other in others]
    return chosen


def _roles(data: list[Path], traits: Iterable[str]) -> dict[Path, Role]:
    """Return the roles of those files that are tables or vectors."""
    roles = {}
    for path in data:
        match = _TABLE.fullmatch(path.name) or _VECTORS.fullmatch(path.name)
        if match is not None:
            roles[path] = Role(match["trait"].lower(), match["kind"].lower())
        elif path.suffix.lower() == ".gguf" and (role := _gguf_role(path, traits)):
            roles[path] = role
    return roles


def _gguf_role(path: Path, traits: Iterable[str]) -> Role | None:
    """Return the role of `{trait}.gguf` or `{trait}_{method}.gguf`, the longest trait that fits."""
    stem = path.stem.lower()
    for trait in sorted(traits, key=len, reverse=True):
        kind = stem.removeprefix(f"{trait}_")
        if stem == trait:
            return Role(trait, "gguf")
        if kind != stem and is_usable(kind):
            return Role(trait, kind)
    return None


def _assign(data: list[Path], folder: PersonaFolder, defined: set[str]) -> None:
    """Add tables and vectors to their traits; list the others."""
    roles = _roles(data, folder.traits)
    for role, path in _one_per_role(roles, folder).items():
        if role.trait in folder.traits:
            files = folder.traits[role.trait]
            if role.kind in get_args(Pole):
                files.tables[cast(Pole, role.kind)] = path
            else:
                files.vectors[role.kind] = path
        elif role.trait not in defined:  # else its definition is listed, which says enough
            folder.left_out.append(_without_definition(role.trait, path, folder.traits))
    for path in data:
        if path in roles:
            continue
        near = nearest(path.stem, folder.traits)
        if path.suffix.lower() == ".csv" and near and _POLE_WORD.search(path.stem):
            why = f"is it a table of {near}? Rename it to {near}_pos.csv or {near}_neg.csv"
            folder.left_out.append(LeftOut(near, display_path(path), why))
        elif path.suffix.lower() == ".gguf" and near:
            why = f"is it of {near}? Rename it to {near}.gguf or {near}_METHOD.gguf"
            folder.left_out.append(LeftOut(near, display_path(path), why))
        else:
            why = "the name is not that of a table ({trait}_pos.csv) or of vectors"
            folder.unused.append(LeftOut("", display_path(path), why))


def _without_definition(name: str, path: Path, traits: Iterable[str]) -> LeftOut:
    near = nearest(name, traits)
    renamed = path.name.lower().replace(name, near) if near else ""
    hint = f"; there is {near}: rename the file to {renamed} if it is the same" if near else ""
    return LeftOut(near or name, display_path(path), f"no definition of {name!r}{hint}")
