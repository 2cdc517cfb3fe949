"""Compares everything on disk with what stages recorded when they wrote it; writes nothing."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from traitvec_core.dynamics.manifests import read_dynamics
from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE, Stage
from traitvec_core.stages.trait_atlas import atlas_problems
from traitvec_core.steering_evaluation.result import read_steering
from traitvec_core.storage.bucket_sync import configured_working_copy
from traitvec_core.storage.files import is_usable
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.manifests import (
    ActivationsManifest,
    JudgedResponsesManifest,
    ResponsesManifest,
)
from traitvec_core.storage.provenance import Provenance, content_hash
from traitvec_core.storage.stage_record import values_hash
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.report_manifest import ReportManifest

__all__ = ["Finding", "Problem", "results_of", "verify_atlas", "verify_trait"]

Problem = Literal["changed", "missing", "extra", "damaged", "unverified", "elsewhere"]
"""What is wrong with a file.

`changed`: its content is not what its stage wrote; `missing`: recorded, but not there; `extra`: in
a stage's folder, but no stage wrote it; `damaged`: cannot be read, or has values that do not fit.
Nothing is wrong with `unverified` metadata, made by traitvec before 0.9 without a hash of them, and
with files that are `elsewhere`: in the storage that `TRAITVEC_STORAGE` names.
"""


_FILES = tuple(METADATA_FILE.values())


@dataclass(frozen=True)
class Finding:
    """One file that is not as its stage wrote it.

    Attributes:
        trait: The trait; empty for the experiment's atlas.
        stage: The stage that it belongs to, or `trait_atlas`.
        file: Its path below the trait's folder, or below the experiment's.
        problem: What is wrong.
        detail: More about it, in one line.
    """

    trait: str
    stage: str
    file: str
    problem: Problem
    detail: str = ""

    @property
    def is_off(self) -> bool:
        """Whether somebody should look at it."""
        return self.problem not in {"unverified", "elsewhere"}


def results_of(folder: ExperimentFolder) -> list[str]:
    """Return the names of the traits with results, sorted; a definition is not needed."""
    return sorted(
        path.name
        for path in folder.path.iterdir()
        if is_usable(path.name) and any((path / name).parent.is_dir() for name in _FILES)
    )


def verify_trait(
    folder: TraitFolder, on_file: Callable[[str], None] = lambda name: None
) -> list[Finding]:
    """Read and hash every file of a trait's stages, and compare it with their records.

    No stored hash is trusted. What the user writes (definition, human scores) and what was imported
    beside the stages' own files has no record, and is left out.

    Args:
        folder: The trait.
        on_file: Called with the name of each file before it is read.

    Returns:
        What is not as recorded, in the order of stages.
    """
    findings: list[Finding] = []
    for folder_name, stages in groupby(METADATA_FILE, key=_folder_of):
        verified = {stage: _verify_stage(folder, stage, on_file) for stage in stages}
        for result in verified.values():
            findings += result.findings
        findings += _unrecorded(folder, folder_name, verified)
    return findings


def verify_atlas(folder: ExperimentFolder) -> list[Finding]:
    """Compare the files of an experiment's atlas with what was recorded when it was written."""
    return [
        Finding("", "trait_atlas", name, problem)
        for name, problem in atlas_problems(folder).items()
    ]


@dataclass(frozen=True)
class _VerifiedStage:
    """Attributes: whether the metadata file is there; what it records, if it can be read."""

    is_made: bool
    record: Provenance | None
    findings: list[Finding]


def _verify_stage(
    folder: TraitFolder, stage: Stage, on_file: Callable[[str], None]
) -> _VerifiedStage:
    name = METADATA_FILE[stage]
    if not os.path.lexists(folder.path / name):
        return _VerifiedStage(is_made=False, record=None, findings=[])
    on_file(name)

    def finding(file: str, problem: Problem, detail: str = "") -> Finding:
        return Finding(folder.name, stage, file, problem, detail)

    try:
        digest = values_hash(folder.read(name))
    except (OSError, ValueError, TraitvecError) as error:
        damage = [finding(name, "damaged", _one_line(error))]
        return _VerifiedStage(is_made=True, record=None, findings=damage)
    record = folder.provenance(stage)
    if record is None:
        damage = [finding(name, "damaged", "its provenance cannot be read")]
        return _VerifiedStage(is_made=True, record=None, findings=damage)
    files = [
        finding(file, *problem)
        for file, recorded in record.files.items()
        if (problem := _problem_of(folder, file, recorded, on_file)) is not None
    ]
    is_all_missing = bool(files) and [f.problem for f in files] == ["missing"] * len(record.files)
    if is_all_missing and configured_working_copy(folder.path.parent.parent) is not None:
        files = [finding(name, "elsewhere", f"{len(files)} files are in the storage only")]
    own = []
    if record.metadata and record.metadata != digest:
        own = [finding(name, "changed")]
    elif not files and (misfit := _misfit(folder, stage)):
        own = [finding(name, "damaged", misfit)]
    elif not record.metadata:
        own = [finding(name, "unverified", "made by traitvec before 0.9")]
    return _VerifiedStage(is_made=True, record=record, findings=own + files)


def _problem_of(
    folder: TraitFolder, name: str, digest: str, on_file: Callable[[str], None]
) -> tuple[Problem, str] | None:
    on_file(name)
    try:
        if content_hash(folder.read(name)) == digest:
            return None
    except FileNotFoundError:
        return "missing", ""
    except (OSError, ValueError, TraitvecError) as error:
        return "damaged", _one_line(error)
    return "changed", ""


def _misfit(folder: TraitFolder, stage: Stage) -> str:
    """Return why a stage's metadata cannot be used, or an empty text."""
    try:
        _READERS[stage](folder)
    except TraitvecError as error:
        return _one_line(error)
    return ""


def _unrecorded(
    folder: TraitFolder, folder_name: str, verified: dict[Stage, _VerifiedStage]
) -> list[Finding]:
    """Return what lies in a folder of stages without a record."""
    if any(result.is_made and result.record is None for result in verified.values()):
        # A record that cannot be read may have listed it.
        return []
    known = {METADATA_FILE[stage] for stage in verified}
    known |= {f for r in verified.values() if r.record is not None for f in r.record.files}
    names = [name for name in _names_in(folder.path, folder_name) if name not in known]
    not_made = [stage for stage, result in verified.items() if not result.is_made]
    last = [*verified, *not_made][-1]
    if names and not_made:
        detail = f"{len(names)} files beside it have no record"
        return [Finding(folder.name, last, METADATA_FILE[last], "missing", detail)]
    return [Finding(folder.name, last, name, "extra") for name in names]


def _names_in(trait: Path, folder_name: str) -> list[str]:
    """Return the files below a stage's folder, sorted; hidden ones are caches and unfinished."""
    names = []
    for path, folders, files in os.walk(trait / folder_name):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        below = Path(path).relative_to(trait)
        names += [str(below / name) for name in (*files, *links) if not name.startswith(".")]
    return sorted(names)


def _folder_of(stage: Stage) -> str:
    return METADATA_FILE[stage].partition("/")[0]


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


# What other code reads of each stage's metadata, and so what must be there with the right types.
_READERS: dict[Stage, Callable[[TraitFolder], object]] = {
    "responses": lambda folder: folder.manifest(ResponsesManifest),
    "judged_responses": lambda folder: folder.manifest(JudgedResponsesManifest),
    "activations": lambda folder: folder.manifest(ActivationsManifest),
    "vectors": lambda folder: folder.manifest(VectorsManifest),
    "steering_evaluation": read_steering,
    "validation_report": lambda folder: folder.manifest(ReportManifest),
    "trait_dynamics": read_dynamics,
}
