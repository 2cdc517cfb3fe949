"""Why a vector, or the verdict on it, is out of date: what `traitvec status` says, in one line.

The states are those of `stage_states`, so a vector is called stale here exactly where its stage is
called stale there. Files are hashed again only when they were touched.
"""

from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.stages.make import State, stage_states
from traitvec_core.stages.provenance import stage_inputs, stage_settings, upstream_of
from traitvec_core.storage.file_hashes import hashes_in
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.storage.provenance import Provenance

__all__ = ["staleness_of_vector"]

# Inputs whose names alone say too little; others read well as they are ("judge of coherence").
_INPUTS = {
    "elicitation": "the definition's pairs or questions",
    "rubric": "the definition's eval_prompt",
    "description": "the definition's description",
    "about": "the definition's about",
    "eval_questions": "the definition's eval_questions",
    "model": "the model",
    "judge": "the judge",
    "human_scores": "human_scores.csv",
    "accepted": "what the settings accept",
}
_MOST_NAMES = 3


def staleness_of_vector(
    folder: TraitFolder,
    *,
    is_judged: bool,
    settings: "ExperimentSettings | None" = None,
    states: "Mapping[Stage, State] | None" = None,
) -> str | None:
    """Return why a trait's vectors, or the verdict on one of them, are out of date.

    Args:
        folder: The trait.
        is_judged: Whether the vector has a verdict, which may be stale where the vector is not.
        settings: The experiment's settings; by default those of its file.
        states: The states of its stages under these settings, if they are known.

    Returns:
        One line, such as `the vector is stale: the definition's eval_prompt changed after
        judged_responses was made`; None if it is up to date. What cannot be checked, because the
        settings cannot be read, is said to be unknown.
    """
    try:
        settings = settings or _settings_of(folder)
        if states is None:
            last: Stage = "validation_report" if is_judged else "vectors"
            states = stage_states(folder, settings, [*upstream_of(last), last])
    except TraitvecError:
        # Not the error itself: it may name a path, and the line is published with the vector.
        return "it is unknown whether the vector is stale: `traitvec check` says why"
    if states["vectors"] != "fresh":
        return f"the vector is stale: {_reason('vectors', states, folder, settings)}"
    if is_judged and states["validation_report"] != "fresh":
        return f"the verdict is stale: {_reason('validation_report', states, folder, settings)}"
    return None


def _settings_of(folder: TraitFolder) -> "ExperimentSettings":
    return ExperimentFolder(folder.path.parent.parent, folder.experiment).settings()


def _reason(
    stage: Stage,
    states: "Mapping[Stage, State]",
    folder: TraitFolder,
    settings: "ExperimentSettings",
) -> str:
    """Say what is wrong with the first stage that is not fresh, of this one and all before it."""
    chain = {stage, *upstream_of(stage)}
    first = next(name for name in STAGES if name in chain and states[name] != "fresh")
    state = states[first]
    if first == "definition":
        return "the definition is missing" if state == "missing" else "the definition is broken"
    provenance = folder.provenance(first)
    if provenance is None:
        return f"{first} is missing"
    if state == "partial":
        return f"{first} is incomplete"
    return _changed(provenance, folder, settings) or _edited(provenance, folder)


def _changed(provenance: "Provenance", folder: TraitFolder, settings: "ExperimentSettings") -> str:
    """Name the inputs and settings that are not the recorded ones; empty if all are."""
    stage = provenance.stage
    try:
        inputs = stage_inputs(stage, folder, settings)
    except TraitvecError:
        return f"what {stage} is made from cannot be read"
    used = stage_settings(stage, settings)
    names = [_INPUTS.get(name, name) for name in _differing(inputs, provenance.inputs)]
    # A model has a name, which is a setting, and a content, which is an input.
    names += [name for name in _differing(used, provenance.settings) if name not in inputs]
    if names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        shown = ", ".join(one_line(name) for name in names[:_MOST_NAMES])
        return f"{shown}{more} changed after {stage} was made"
    return ""


def _differing(now: "Mapping[str, object]", recorded: "Mapping[str, object]") -> list[str]:
    names = dict.fromkeys([*now, *recorded])
    return [name for name in names if now.get(name) != recorded.get(name)]


def _edited(provenance: "Provenance", folder: TraitFolder) -> str:
    """Name the file that is not as recorded; if all are, the version of traitvec is another."""
    stage, hashes = provenance.stage, hashes_in(folder.path.absolute())
    if not folder.is_metadata_as_recorded(provenance):
        return f"{METADATA_FILE[stage]} was edited"
    if not folder.is_intact(provenance):
        for name, digest in provenance.files.items():
            try:
                is_same = hashes.of(name) == digest
            except (OSError, ValueError, TraitvecError):
                return f"{one_line(name)} is missing or cannot be read"
            if not is_same:
                return f"{one_line(name)} was edited"
    return f"another version of traitvec made {stage}"
