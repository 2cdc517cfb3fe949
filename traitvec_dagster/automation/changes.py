"""What has changed in an experiment since the last look: new, changed, broken and removed traits.

One look reads every definition file and parses those whose bytes are new. Nothing here knows a
sensor; what it keeps between two looks is a `Memory` that goes into the sensor's cursor.
"""

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES
from traitvec_core.stages.provenance import current_key, stage_settings
from traitvec_core.storage.files import DEFINITION_FILE, display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.trait import check_name, parse_definition

__all__ = ["Change", "Changes", "Memory", "Seen", "scan"]

# A file that cannot be read may still be being written.
_SETTLED_S = 3.0


class Seen(BaseModel):
    """A trait as it was at the last look.

    Attributes:
        file: Hash of the definition's bytes.
        definition: Hash of what they say; empty when they cannot be used.
        asked: The version for which the last run was asked, or which was there already; `-` after
            the definition was broken.
    """

    file: str = ""
    definition: str = ""
    asked: str = ""


class Memory(BaseModel):
    """What is known from one look to the next.

    Attributes:
        id: Runs of a memory that was lost are never taken for those of the new one.
        runs: How many runs were asked for; part of their keys, so that a version may come again.
        traits: Every trait that has a definition file.
        reported: Hash of what was said last about a trait or a file, while it holds.
    """

    id: str = Field(default_factory=lambda: secrets.token_hex(4))
    runs: int = 0
    traits: dict[str, Seen] = Field(default_factory=dict)
    reported: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Something to be said once.

    Attributes:
        trait: The trait, or None if it is about the experiment or about a folder's name.
        is_broken: Whether the trait has a definition with problems; else it has none.
        text: What to say.
    """

    trait: str | None
    is_broken: bool
    text: str


@dataclass(frozen=True)
class Changes:
    """What one look found.

    Attributes:
        memory: For the next look; `ask` notes a run in it.
        new: Traits that need a partition.
        changed: Traits that need a run, by the version to be run. Empty unless `auto_run` is on.
        messages: What has not been said before.
    """

    memory: Memory
    new: list[str]
    changed: dict[str, str]
    messages: list[Change]

    def ask(self, trait: str) -> str:
        """Note that a run of a trait is asked for; returns a key that no other run has."""
        self.memory.traits[trait].asked = self.changed[trait]
        self.memory.runs += 1
        return f"{trait}:{self.memory.id}:{self.memory.runs}"


def scan(folder: ExperimentFolder, memory: Memory, partitions: Collection[str]) -> Changes:
    """Looks at an experiment.

    Args:
        folder: The experiment.
        memory: From the last look.
        partitions: The partitions that there are.
    """
    traits: dict[str, Seen] = {}
    said: dict[str, Change] = {}
    for path in sorted(folder.path.glob(f"*/{DEFINITION_FILE}")):
        name = path.parent.name
        try:
            check_name("trait", name)
        except TraitvecError as error:
            said[f"{name}/"] = Change(None, is_broken=True, text=str(error))
            continue
        traits[name] = _seen(folder.trait(name), memory.traits.get(name), said)
    for name in sorted({*partitions, *memory.traits} - traits.keys()):
        said[name] = Change(
            name,
            is_broken=False,
            text=f"{folder.name}: trait {name!r} has a partition but no {DEFINITION_FILE} any more."
            " Nothing is deleted by itself; `traitvec remove-trait` does it",
        )
    try:
        settings: ExperimentSettings | None = folder.settings()
    except TraitvecError as error:
        settings = None
        said["experiment.yaml/"] = Change(None, is_broken=True, text=str(error))
    reported = {subject: content_hash(message.text)[:16] for subject, message in said.items()}
    return Changes(
        memory=memory.model_copy(update={"traits": traits, "reported": reported}),
        new=sorted(traits.keys() - set(partitions)),
        changed=_changed(folder, traits, settings),
        messages=[said[subject] for subject, text in reported.items()
              if memory.reported.get(subject) != text],
    )  # fmt: skip


def _seen(folder: TraitFolder, before: Seen | None, said: dict[str, Change]) -> Seen:
    """Read a definition, and parse it if its bytes are new or were broken."""
    try:
        data = folder.read_definition_bytes()
        file = content_hash(data)[:16]
        if before is not None and before.file == file and before.definition:
            return before.model_copy()
        found = parse_definition(data, display_path(folder.definition_path)).content_hash[:16]
        return (before or Seen()).model_copy(update={"file": file, "definition": found})
    except TraitvecError as error:
        if before is not None and before.definition and _is_fresh(folder.definition_path):
            return before.model_copy()
        if before is not None or not _is_fresh(folder.definition_path):
            said[folder.name] = Change(folder.name, is_broken=True, text=str(error))
        # Once mended it is run, even if it is as it was: its check has failed since.
        return Seen(asked="-")


def _changed(
    folder: ExperimentFolder, traits: dict[str, Seen], settings: ExperimentSettings | None
) -> dict[str, str]:
    if settings is None or not settings.auto_run:
        return {}
    # Settings that no result depends on, such as the schedule, are no change.
    chosen = content_hash(
        "".join(repr(sorted(stage_settings(stage, settings).items())) for stage in STAGES)
    )[:16]
    changed = {}
    for name, seen in traits.items():
        version = f"{seen.definition}-{chosen}"
        if not seen.definition or seen.asked == version:
            continue
        if not seen.asked and _is_made(folder.trait(name), settings):
            seen.asked = version
        else:
            changed[name] = version
    return changed


def _is_made(folder: TraitFolder, settings: ExperimentSettings) -> bool:
    """Whether all stages were made from this; their files are not read."""
    for stage in STAGES[1:]:
        made = folder.provenance(stage)
        if made is None or not made.is_complete:
            return False
        try:
            if made.key != current_key(stage, folder, settings):
                return False
        except TraitvecError:
            return False
    return True


def _is_fresh(path: Path) -> bool:
    try:
        return 0 <= time.time() - path.stat().st_mtime < _SETTLED_S
    except OSError:
        return False
