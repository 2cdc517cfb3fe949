"""Content hashes that several stages are made from: earlier stages, model, judge, rubrics."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.files import model_fingerprint
from traitvec_core.stage_names import Stage
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    from traitvec_core.trait import TraitDefinition

__all__ = [
    "answering_inputs",
    "content_of",
    "judge_inputs",
    "model_input",
    "other_traits",
    "rubric_inputs",
    "scored_traits",
    "side_effect_traits",
]


def content_of(folder: TraitFolder, *stages: Stage) -> dict[str, str]:
    """Return the content hashes of earlier stages, by name.

    Raises:
        TraitvecError: If one of them has not been made.
    """
    contents: dict[str, str] = {}
    for stage in stages:
        provenance = folder.provenance(stage)
        if provenance is None:
            raise TraitvecError(
                f"{display_path(folder.path)}: {stage} has not been made yet; run `traitvec run"
                f" --experiment {folder.experiment} --trait {folder.name} --select {stage}+`"
            )
        contents[stage] = provenance.content
    return contents


def model_input(settings: ExperimentSettings) -> dict[str, str]:
    """Return the fingerprint of the experiment's model."""
    return {"model": model_fingerprint(settings.model, settings.revision)}


def judge_inputs(
    folder: TraitFolder, settings: ExperimentSettings, others: Iterable[str] = ()
) -> dict[str, str]:
    """Return the fingerprints of the judges and of the rubric that is the same for all traits.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        others: Other traits whose rubrics are applied too.
    """
    from traitvec_core.judging.load import judge_fingerprint
    from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

    own, experiment_path = settings.judge_of(folder.name), folder.path.parent
    named = {"judge of coherence": settings.judge_of_coherence}
    named |= {f"judge of {name}": settings.judge_of(name) for name in others}
    return {
        "coherence_rubric": content_hash(COHERENCE_RUBRIC),
        "judge": judge_fingerprint(settings, own, experiment_path),
        # Only where they differ, so that results with one judge for everything stay fresh.
        **{
            name: judge_fingerprint(settings, judge, experiment_path)
            for name, judge in named.items()
            if judge != own
        },
    }


def answering_inputs(
    folder: TraitFolder, settings: ExperimentSettings, others: Iterable[str] = ()
) -> dict[str, str]:
    """Return what answers under the trait's instructions, and their scores, depend on.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        others: Other traits whose rubrics are applied too.
    """
    definition = folder.definition()
    return {
        **model_input(settings),
        **judge_inputs(folder, settings, others),
        "elicitation": definition.elicitation_hash(settings.elicitation),
        "rubric": definition.rubric_hash,
    }


def rubric_inputs(others: "dict[str, TraitDefinition]") -> dict[str, str]:
    """Return the hashes of other traits' rubrics."""
    return {f"rubric of {name}": other.rubric_hash for name, other in others.items()}


def other_traits(folder: TraitFolder, names: Iterable[str]) -> "dict[str, TraitDefinition]":
    """Return the definitions of the named traits of the experiment, this one left out."""
    return {name: folder.sibling(name).definition() for name in names if name != folder.name}


def side_effect_traits(
    folder: TraitFolder, settings: ExperimentSettings
) -> "dict[str, TraitDefinition]":
    """Return the other traits whose rubrics score the chosen dose of steering.

    With `auto` these are all traits of the experiment whose definitions can be read.
    """
    named = settings.steering.side_effects
    if named != "auto":
        return other_traits(folder, named)
    definitions = {}
    for name in ExperimentFolder(folder.path.parent.parent, folder.experiment).traits():
        if name != folder.name:
            with suppress(TraitvecError):
                definitions[name] = folder.sibling(name).definition()
    return definitions


def scored_traits(
    experiment: ExperimentFolder, settings: ExperimentSettings, traits: Iterable[str]
) -> list[str]:
    """Return the traits that running some traits scores: these, and those whose rubrics they use.

    Args:
        experiment: The experiment.
        settings: Its settings.
        traits: The traits to run.
    """
    steering = settings.steering
    side_effects: Iterable[str] = ()
    if steering.evaluate:
        is_auto = steering.side_effects == "auto"
        side_effects = experiment.traits() if is_auto else steering.side_effects
    return list(dict.fromkeys([*traits, *settings.also_judge, *side_effects]))
