"""Why a vector, or the verdict on it, is out of date: what `traitvec status` says, in one line.

The states are those of `stage_states`, so a vector is called stale here exactly where its stage is
called stale there. Files are hashed again only when they were touched.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.models.files import is_model_missing
from traitvec_core.settings.scorer import PythonFunction, parse_scorer
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.stages.make import State, stage_states
from traitvec_core.stages.provenance import stage_inputs, stage_settings, upstream_of
from traitvec_core.storage.file_hashes import hashes_in
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.second_elicitation import COMPARED_STAGES
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
        settings cannot be read or the model is not on this machine, is said to be unknown.
    """
    try:
        settings = settings or _settings_of(folder)
        if states is None:
            last: Stage = "validation_report" if is_judged else "vectors"
            states = stage_states(folder, settings, [*upstream_of(last), last])
    except TraitvecError:
        # Not the error itself: it may name a path, and the line is published with the vector.
        return "it is unknown whether the vector is stale: `traitvec check` says why"
    what = "vector"
    stage: Stage = "vectors"
    if states["vectors"] == "fresh":
        what, stage = "verdict", "validation_report"
        if not is_judged or states[stage] == "fresh":
            return None
    try:
        return f"the {what} is stale: {_reason(stage, states, folder, settings)}"
    except _UnknownError as error:
        return f"it is unknown whether the {what} is stale: {error}"


class _UnknownError(TraitvecError):
    """What a stage was made from is not here, so nobody can say whether it changed."""


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
    first, *later = [name for name in STAGES if name in chain and states[name] != "fresh"]
    state = states[first]
    if first == "definition":
        return "the definition is missing" if state == "missing" else "the definition is broken"
    provenance = folder.provenance(first)
    if provenance is None:
        return f"{first} is missing"
    if state == "partial":
        return f"{first} is incomplete"
    try:
        return _changed(provenance, folder, settings) or _edited(provenance, folder)
    except _UnknownError as error:
        # What surely changed later makes it stale, whatever the model was.
        for provenance in map(folder.provenance, later):
            with suppress(_UnknownError):
                if provenance and (changed := _changed(provenance, folder, settings)):
                    return changed
        raise error


def _changed(provenance: "Provenance", folder: TraitFolder, settings: "ExperimentSettings") -> str:
    """Name the inputs and settings that are not the recorded ones; empty if all are.

    Raises:
        _UnknownError: If none is known to have changed, and not all of them are here.
    """
    stage, used = provenance.stage, stage_settings(provenance.stage, settings)
    absent = ""
    try:
        inputs = stage_inputs(stage, folder, settings)
    except TraitvecError:
        absent = f"what {stage} is made from cannot be read here; `traitvec check` says why"
        inputs = provenance.inputs
    models = _models(folder, settings)
    changed_settings = _differing(used, provenance.settings)
    names = []
    # A model has a name, which is a setting, and a content, which is an input.
    for name in dict.fromkeys([*_differing(inputs, provenance.inputs), *changed_settings]):
        shown = _shown(name, settings)
        # The name of a GGUF file is its content, too.
        is_renamed = name in changed_settings and not str(provenance.settings.get(name)).startswith(
            "gguf "
        )
        if name in models and _is_missing(models[name], folder) and not is_renamed:
            absent = absent or f"{shown} is not on this machine"
        else:
            names.append(shown)
    names = list(dict.fromkeys(names))
    if names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = ", ".join(one_line(name) for name in names[:_MOST_NAMES])
        return f"{listed}{more} changed after {stage} was made"
    if absent:
        raise _UnknownError(absent)
    return ""


def _models(folder: TraitFolder, settings: "ExperimentSettings") -> dict[str, str]:
    """The models whose content is an input, by the input's name."""
    models = {
        "model": settings.model,
        "judge_model": settings.judge_model,
        "judge": settings.judge_of(folder.name),
        "judge of coherence": settings.judge_of_coherence,
    }
    if settings.second_judge is not None:
        models["second_judge"] = settings.second_judge
    return models


def _is_missing(name: str, folder: TraitFolder) -> bool:
    """Whether the files of a model or scorer are not here."""
    scorer = parse_scorer(name)
    if isinstance(scorer, PythonFunction):
        return not (folder.path.parent / scorer.path).exists()
    return is_model_missing(name if scorer is None else scorer.model)


def _shown(name: str, settings: "ExperimentSettings") -> str:
    if name in {f"second {stage}" for stage in COMPARED_STAGES}:
        return f"what {settings.second_elicitation} has of the trait"
    return _INPUTS.get(name, name)


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
