"""Content hashes of everything that a stage is made from."""

from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.files import model_fingerprint
from traitvec_core.stage_names import Stage
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    from traitvec_core.trait import TraitDefinition

__all__ = ["also_judged", "side_effects", "stage_inputs"]


def stage_inputs(stage: Stage, folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    """Content hashes of everything that a stage is made from."""

    def content(earlier: Stage) -> str:
        provenance = folder.provenance(earlier)
        if provenance is None:
            raise TraitvecError(
                f"{display_path(folder.path)}: {stage} needs {earlier}, which has not been made"
                " yet;"
                f" materialize {earlier} first (`traitvec run --experiment {folder.experiment}"
                f" --trait {folder.name} --select {earlier}+`)"
            )
        return provenance.content

    if stage == "responses":
        return {
            "elicitation": folder.definition().elicitation_hash,
            "model": model_fingerprint(settings.model, settings.revision),
        }
    if stage == "judged_responses":
        return {
            "responses": content("responses"),
            "rubric": folder.definition().rubric_hash,
            **_judging_inputs(folder, settings),
        }
    if stage == "activations":
        return {
            "judged_responses": content("judged_responses"),
            "model": model_fingerprint(settings.model, settings.revision),
        }
    if stage == "vectors":
        # The texts are read for what else could explain the vectors.
        return {name: content(name) for name in ("activations", "judged_responses")}
    if stage == "steering_evaluation":
        return _steering_inputs(folder, settings) | {"vectors": content("vectors")}
    if stage == "validation_report":
        # The page opens with the description.
        described = {"description": content_hash(folder.definition().description)}
        earlier: tuple[Stage, ...] = (
            "judged_responses",
            "activations",
            "vectors",
            "steering_evaluation",
        )
        return {name: content(name) for name in earlier} | described
    if stage == "trait_dynamics":
        found = {"vectors": content("vectors")}
        if settings.monitoring_prompts:
            found["steering_evaluation"] = content("steering_evaluation")
            found |= _answering_inputs(folder, settings)
        return found
    raise ValueError(f"{stage} is not made from anything")


def _judging_inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    from traitvec_core.judging.load import judge_fingerprint
    from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

    found = {
        "coherence_rubric": content_hash(COHERENCE_RUBRIC),
        "judge": judge_fingerprint(settings),
    }
    if settings.second_judge is not None:
        found["second_judge"] = judge_fingerprint(settings, settings.second_judge)
    for name, other in also_judged(folder, settings).items():
        found[f"rubric of {name}"] = other.rubric_hash
    human = folder.human_scores()
    if human is not None:
        found["human_scores"] = content_hash(human)
    return found


def _steering_inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    if not settings.steering.evaluate:
        return {}
    found = _answering_inputs(folder, settings)
    found["eval_questions"] = content_hash("\n".join(folder.definition().eval_questions))
    for name, other in side_effects(folder, settings).items():
        found[f"rubric of {name}"] = other.rubric_hash
    return found


def _answering_inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    """What answers of the model under the trait's instructions, and their scores, depend on."""
    from traitvec_core.judging.load import judge_fingerprint
    from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

    definition = folder.definition()
    return {
        "model": model_fingerprint(settings.model, settings.revision),
        "elicitation": definition.elicitation_hash,
        "rubric": definition.rubric_hash,
        "coherence_rubric": content_hash(COHERENCE_RUBRIC),
        "judge": judge_fingerprint(settings),
    }


def side_effects(folder: TraitFolder, settings: ExperimentSettings) -> "dict[str, TraitDefinition]":
    """The other traits whose rubrics are put to this trait's steered responses."""
    return {
        name: folder.sibling(name).definition()
        for name in settings.steering.side_effects
        if name != folder.name
    }


def also_judged(folder: TraitFolder, settings: ExperimentSettings) -> "dict[str, TraitDefinition]":
    """The other traits whose rubrics are put to this trait's responses."""
    return {
        name: folder.sibling(name).definition()
        for name in settings.also_judge
        if name != folder.name
    }
