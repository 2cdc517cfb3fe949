"""What has changed in an experiment since the last scan: new, changed, broken and removed traits.

A scan reads every definition file and parses those whose bytes are new. It is independent of
Dagster: the state between two scans is a `Memory`, which the sensor stores in its cursor.
"""

import os
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.make import State
from traitvec_core.stages.provenance import current_key, stage_settings
from traitvec_core.storage.files import DEFINITION_FILE, display_path, is_usable
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.trait import check_name, parse_definition
from traitvec_core.trust import check_trust
from traitvec_dagster.automation.freshness import Judged, judge_changed

__all__ = ["Changes", "Memory", "Notice", "Seen", "scan"]

# A broken file may still be in the middle of being written.
_SETTLED_S = 3.0


class Seen(BaseModel):
    """A trait as it was at the last scan.

    Attributes:
        file: Hash of the definition file's bytes.
        definition: Hash of the parsed definition; empty if it is broken.
        asked: The version of the last requested run, or the version that was complete already;
            `-` after the definition was broken.
        problem: Hash of what is wrong with the definition; empty if nothing is.
        failed: The `problem` that Dagster's check of the definition has been run for.
    """

    file: str = ""
    definition: str = ""
    asked: str = ""
    problem: str = ""
    failed: str = ""


class Memory(BaseModel):
    """State that is kept between scans.

    Attributes:
        id: Part of every run key, so that keys from a lost memory are never repeated.
        runs: Number of requested runs; part of every run key, so that a version can run again.
        traits: Every trait that has a definition file.
        reported: Hash of the current notice on each trait or file, while the problem persists.
        judged: What the stages depended on when their states were last reported.
    """

    id: str = Field(default_factory=lambda: secrets.token_hex(4))
    runs: int = 0
    traits: dict[str, Seen] = Field(default_factory=dict)
    reported: dict[str, str] = Field(default_factory=dict)
    judged: Judged = Field(default_factory=Judged)


@dataclass(frozen=True)
class Notice:
    """Something to report once.

    Attributes:
        trait: The trait, or None if the notice is about the experiment or a folder's name.
        is_broken: Whether the definition has problems; if not, it is missing.
        text: The text to report.
    """

    trait: str | None
    is_broken: bool
    text: str


@dataclass(frozen=True)
class Changes:
    """The result of a scan.

    Attributes:
        memory: State for the next scan; `request_run` updates it.
        new: Traits that need a partition.
        changed: Traits that need a run, with the version to run. Empty unless `auto_run` is on.
        unchecked: Other traits whose definition broke, broke otherwise or was fixed, so that its
            check in Dagster is out of date.
        notices: Notices that have not been reported yet.
        without_folder: Partitions whose notice is among them, and that have no folder.
        states: The states of the stages of traits that look changed since the last scan.
    """

    memory: Memory
    new: list[str]
    changed: dict[str, str]
    unchecked: list[str]
    notices: list[Notice]
    without_folder: list[str]
    states: dict[str, dict[Stage, State]]

    def request_run(self, trait: str) -> str:
        """Record that a run of a trait is requested. Returns its unique run key."""
        self.memory.traits[trait].asked = self.changed[trait]
        return self.request_check(trait)

    def request_check(self, trait: str) -> str:
        """Record that a run of a definition's check is requested. Returns its unique run key."""
        seen = self.memory.traits[trait]
        seen.failed = seen.problem
        self.memory.runs += 1
        return f"{trait}:{self.memory.id}:{self.memory.runs}"

    def report_again(self, trait: str) -> None:
        """Repeat the notice on a trait at the next scan, if its cause is still there."""
        self.memory.reported.pop(trait, None)


def scan(folder: ExperimentFolder, memory: Memory, partitions: Collection[str]) -> Changes:
    """Find what has changed in an experiment since the last scan.

    Args:
        folder: The experiment.
        memory: State from the last scan.
        partitions: The existing partitions.
    """
    traits: dict[str, Seen] = {}
    notices: dict[str, Notice] = {}
    for path in sorted(folder.path.glob(f"*/{DEFINITION_FILE}")):
        name = path.parent.name
        try:
            check_name("trait", name)
        except TraitvecError as error:
            notices[f"{name}/"] = Notice(None, is_broken=True, text=str(error))
            continue
        traits[name] = _seen(folder.trait(name), memory.traits.get(name), notices)
    for name in sorted({*partitions, *memory.traits} - traits.keys()):
        notices[name] = Notice(name, is_broken=False, text=_missing(folder, name))
    try:
        settings: ExperimentSettings | None = folder.settings()
    except TraitvecError as error:
        settings = None
        notices["experiment.yaml/"] = Notice(None, is_broken=True, text=str(error))
    states: dict[str, dict[Stage, State]] = {}
    judged = memory.judged
    if settings is not None:
        definitions = {name: seen.file for name, seen in traits.items()}
        states, judged = judge_changed(folder, settings, definitions, judged)
    if settings is not None and settings.auto_run:
        try:
            check_trust(folder, settings)
        except TraitvecError as error:
            settings = None
            notices["trust/"] = Notice(None, is_broken=True, text=str(error))
    changed = _changed(folder, traits, settings)
    reported = {subject: content_hash(notice.text)[:16] for subject, notice in notices.items()}
    fresh = [name for name, text in reported.items() if memory.reported.get(name) != text]
    return Changes(
        memory=memory.model_copy(update={"traits": traits, "reported": reported, "judged": judged}),
        new=sorted(traits.keys() - set(partitions)),
        changed=changed,
        unchecked=[
            name
            for name, seen in traits.items()
            if seen.failed != seen.problem and name not in changed
        ],
        notices=[notices[subject] for subject in fresh],
        states=states,
        # Where the disk itself is missing, nothing is known.
        without_folder=[
            name for name in fresh if name in partitions and not _has_folder(folder, name)
        ]
        if folder.path.is_dir()
        else [],
    )


def _missing(folder: ExperimentFolder, name: str) -> str:
    """Return what to report on a partition without a definition."""
    try:
        check_name("trait", name)
    except TraitvecError as error:
        return str(error)
    if _has_folder(folder, name):
        return (
            f"{folder.name}: the {DEFINITION_FILE} of trait {name!r} is gone. Nothing else was"
            " deleted; `traitvec remove-trait` removes the rest"
        )
    return (
        f"{folder.name}: trait {name!r} has no definition; write"
        f" {display_path(folder.trait(name).definition_path)}, or run the experiment's job"
        " …_new_trait"
    )


def _has_folder(folder: ExperimentFolder, name: str) -> bool:
    # A dangling link counts: it is something to look at.
    return is_usable(name) and os.path.lexists(folder.path / name)


def _seen(folder: TraitFolder, before: Seen | None, notices: dict[str, Notice]) -> Seen:
    """Read a definition; parse it only if its bytes are new or it was broken."""
    try:
        data = folder.read_definition_bytes()
        file = content_hash(data)[:16]
        if before is not None and before.file == file and before.definition:
            return before.model_copy()
        definition = parse_definition(data, display_path(folder.definition_path))
        return (before or Seen()).model_copy(
            update={"file": file, "definition": definition.content_hash[:16], "problem": ""}
        )
    except TraitvecError as error:
        if before is not None and before.definition and _is_new(folder.definition_path):
            return before.model_copy()
        failed = before.failed if before is not None else ""
        if before is None and _is_new(folder.definition_path):
            return Seen(asked="-")
        notices[folder.name] = Notice(folder.name, is_broken=True, text=str(error))
        # Run it once it is fixed, even if it is as before: its check has failed in between.
        return Seen(asked="-", problem=content_hash(str(error))[:16], failed=failed)


def _changed(
    folder: ExperimentFolder, traits: dict[str, Seen], settings: ExperimentSettings | None
) -> dict[str, str]:
    if settings is None or not settings.auto_run:
        return {}
    # Settings that no result depends on, such as the schedule, do not count.
    chosen = content_hash(
        "".join(repr(sorted(stage_settings(stage, settings).items())) for stage in STAGES)
    )[:16]
    changed = {}
    for name, seen in traits.items():
        accepted = sorted(settings.accepted_of(name).items())
        version = f"{seen.definition}-{chosen}" + (
            f"-{content_hash(repr(accepted))[:16]}" if accepted else ""
        )
        if not seen.definition or seen.asked == version:
            continue
        if not seen.asked and _is_complete(folder.trait(name), settings):
            seen.asked = version
        else:
            changed[name] = version
    return changed


def _is_complete(folder: TraitFolder, settings: ExperimentSettings) -> bool:
    """Whether all stages are complete and current. Does not read their files."""
    for stage in STAGES[1:]:
        provenance = folder.provenance(stage)
        if provenance is None or not provenance.is_complete:
            return False
        try:
            if provenance.key != current_key(stage, folder, settings):
                return False
        except TraitvecError:
            return False
    return True


def _is_new(path: Path) -> bool:
    """Whether a file was written in the last few seconds."""
    try:
        return 0 <= time.time() - path.stat().st_mtime < _SETTLED_S
    except OSError:
        return False
