"""Which traits' stages may have become stale or fresh since the last scan, and what they are now.

Hashing everything takes some milliseconds per trait, so a trait's stages are judged only when
something that they depend on looks changed. What all traits share (settings, definitions, model,
judges) is compared at every scan; the files of a few traits at a time, by size and time.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import islice

from pydantic import BaseModel, Field

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.load import judge_fingerprint, used_judges
from traitvec_core.models.files import model_fingerprint
from traitvec_core.stage_names import Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.make import State, stage_states
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.second_elicitation import second_trait

__all__ = ["Judged", "judge_changed"]

# Files of this many traits are compared per scan, in turn.
_TURN = 10


class Judged(BaseModel):
    """What the stages of an experiment depended on when they were last judged.

    Attributes:
        shared: Hash of what all traits share.
        files: By trait, a hash of the sizes and times of its files.
        last: The trait whose files were compared last.
    """

    shared: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    last: str = ""


def judge_changed(
    folder: ExperimentFolder,
    settings: ExperimentSettings,
    definitions: Mapping[str, str],
    before: Judged,
) -> tuple[dict[str, dict[Stage, State]], Judged]:
    """Judge the stages of the traits that look changed since the last scan.

    Args:
        folder: The experiment.
        settings: Its settings.
        definitions: By trait, a hash of its definition file.
        before: What the last scan returned.

    Returns:
        By trait, the states of its stages; and what to give to the next scan. The files of at most
        ten traits are compared per scan, except after a change of what all traits share.
    """
    shared = _shared(folder, settings, definitions)
    # A trait whose definition was removed keeps its results.
    removed = [name for name in before.files.keys() - definitions.keys()
               if folder.trait(name).path.is_dir()]  # fmt: skip
    names = sorted([*definitions, *removed])
    is_shared_changed = shared != before.shared
    turn = names if is_shared_changed else list(islice(_after(names, before.last), _TURN))
    # Before the states: what changes in between is seen again by the next scan.
    files = {name: _files(folder.trait(name), settings) for name in turn}
    states = {
        name: stage_states(folder.trait(name), settings)
        for name in turn
        if is_shared_changed or files[name] != before.files.get(name)
    }
    known = {name: files.get(name) or before.files.get(name, "") for name in names}
    return states, Judged(shared=shared, files=known, last=turn[-1] if turn else "")


def _shared(
    folder: ExperimentFolder, settings: ExperimentSettings, definitions: Mapping[str, str]
) -> str:
    versions = [(stage, spec.version) for stage, spec in SPECS.items()]
    parts = [settings.model_dump_json(), repr(sorted(definitions.items())), repr(versions)]
    names = {judge.name for judge in used_judges(settings)} | {settings.judge_of_coherence}
    if settings.second_judge is not None:
        names.add(settings.second_judge)
    try:
        parts.append(model_fingerprint(settings.model, settings.revision))
        parts += [judge_fingerprint(settings, name, folder.path) for name in sorted(names)]
    except TraitvecError as error:
        # A model or a scorer's file that is gone makes stages stale, too.
        parts.append(str(error))
    return content_hash("\n".join(parts))[:16]


def _after(names: list[str], last: str) -> Iterator[str]:
    """All names once, beginning with the one after the last."""
    yield from (name for name in names if name > last)
    yield from (name for name in names if name <= last)


def _files(trait: TraitFolder, settings: ExperimentSettings) -> str:
    """Hash the sizes and times of a trait's files, and of its second elicitation's."""
    stamps = sorted(_stamps(str(trait.path)))
    second = second_trait(trait, settings)
    if second is not None:
        stamps += sorted(_stamps(str(second.path)))
    return content_hash(repr(stamps))[:16]


def _stamps(folder: str) -> Iterator[tuple[str, int, int, int]]:
    """Sizes and times of the files below a folder; locks and caches are no results."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _stamps(entry.path)
                else:
                    stat = entry.stat()
                    yield entry.path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    except OSError:
        # Removed while it was listed: the next scan sees what is left.
        return
