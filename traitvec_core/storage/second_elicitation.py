"""The same trait in the experiment that `second_elicitation` names: where it is, what is made."""

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

__all__ = ["COMPARED_STAGES", "second_contents", "second_trait"]

COMPARED_STAGES: tuple[Stage, ...] = (
    "responses",
    "judged_responses",
    "activations",
    "vectors",
    "steering_evaluation",
)
"""What the comparison of two elicitations reads of each. Not the report: each would wait for the
other's."""


def second_trait(folder: TraitFolder, settings: ExperimentSettings) -> TraitFolder | None:
    """Return the trait's folder in the second experiment, which need not exist.

    Returns:
        None where the settings name no second experiment, or the experiment itself.
    """
    name = settings.second_elicitation
    if name is None or name == folder.experiment:
        return None
    return ExperimentFolder(folder.path.parent.parent, name).trait(folder.name)


def second_contents(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    """Return what the second experiment has of the trait: a content hash by stage.

    Stages that are not made are left out; one whose files were changed since counts as `changed`.
    """
    second = second_trait(folder, settings)
    contents: dict[str, str] = {}
    for stage in COMPARED_STAGES if second is not None else ():
        made = second.provenance(stage) if second is not None else None
        if second is not None and made is not None:
            contents[f"second {stage}"] = made.content if second.is_intact(made) else "changed"
    return contents
