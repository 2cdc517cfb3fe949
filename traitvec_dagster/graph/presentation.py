"""What Dagster adds to each stage: one row per stage, beside the core's `StageSpec`."""

from collections.abc import Callable
from dataclasses import dataclass

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.load import JudgeChoice
from traitvec_core.stage_names import Stage
from traitvec_core.storage.files import ACTIVATIONS_FILE, DEFINITION_FILE
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.response_tables import (
    THINKING,
    Column,
    columns_of_other_traits,
    judged_columns,
    response_columns,
)
from traitvec_dagster.graph.drift import drift_metadata
from traitvec_dagster.graph.metadata_of_responses import (
    activations_metadata,
    judged_responses_metadata,
    responses_metadata,
)
from traitvec_dagster.graph.metadata_of_vectors import (
    steering_evaluation_metadata,
    trait_dynamics_metadata,
    validation_report_metadata,
    vectors_metadata,
)
from traitvec_dagster.graph.metadata_values import Metadata

__all__ = ["PRESENTATION", "StagePresentation"]

ShowMetadata = Callable[[TraitFolder, ExperimentSettings], Metadata]


@dataclass(frozen=True, kw_only=True)
class StagePresentation:
    """How a stage looks and is scheduled in Dagster.

    Attributes:
        description: What the asset's page says.
        kinds: Icons of the asset; a function of the settings when the code location is loaded.
        files: Its files, below the trait's folder.
        columns: Those of its tables; a function of the same settings.
        metadata: Figures from what the stage has on disk, the same whether it was made or reused;
            None for the definition, whose file may be broken.
        metadata_when_made: More, for a stage that was not reused.
        api_pool: The pool that limits it while it works behind an API; None for no limit.
        is_last: Whether it waits for everything else that could run.
    """

    description: str
    kinds: Callable[[ExperimentSettings], set[str]]
    files: str
    columns: Callable[[ExperimentSettings], tuple[Column, ...]] = lambda settings: ()
    metadata: ShowMetadata | None = None
    metadata_when_made: ShowMetadata | None = None
    api_pool: str | None = None
    is_last: bool = False


PRESENTATION: dict[Stage, StagePresentation] = {
    "definition": StagePresentation(
        description="The trait as the user wrote it: instruction pairs, questions, rubric.",
        kinds=lambda settings: {"json"},
        files=DEFINITION_FILE,
    ),
    "responses": StagePresentation(
        description="The model's responses under the positive and the negative instructions.",
        kinds=lambda settings: {"huggingface", "csv"},
        files="responses/raw_{pos,neg}.csv",
        columns=lambda settings: (*response_columns(), THINKING),
        metadata=responses_metadata,
    ),
    "judged_responses": StagePresentation(
        description="The same responses with a trait score and a coherence score, or the reason"
        " why a score is missing.",
        kinds=lambda settings: {"csv", JudgeChoice(settings).provider.icon},
        files="responses/{pos,neg}.csv",
        columns=lambda settings: (
            *judged_columns(),
            *columns_of_other_traits(settings.also_judge),
        ),
        metadata=judged_responses_metadata,
        api_pool="judge_api",
    ),
    "activations": StagePresentation(
        description="The mean residual stream over the tokens of every kept response, at every"
        " layer.",
        kinds=lambda settings: {"pytorch"},
        files=ACTIVATIONS_FILE,
        metadata=activations_metadata,
    ),
    "vectors": StagePresentation(
        description="One direction per method and layer, with held-out figures.",
        kinds=lambda settings: {"pytorch", "scikitlearn"},
        files="vectors/{method}_layer{N}.pt",
        metadata=vectors_metadata,
        metadata_when_made=drift_metadata,
    ),
    # These take longer than all else, and hardly anything waits for them.
    "steering_evaluation": StagePresentation(
        description="What the vectors do when they are added to the model: layer, method and"
        " coefficient are chosen on half of the questions and reported on the others.",
        kinds=lambda settings: {"huggingface", "csv"},
        files="steering",
        metadata=steering_evaluation_metadata,
        is_last=True,
    ),
    "validation_report": StagePresentation(
        description="What was elicited, how well it separates, what to trust: a page and its JSON.",
        kinds=lambda settings: {"html"},
        files="validation/report.html",
        metadata=validation_report_metadata,
    ),
    "trait_dynamics": StagePresentation(
        description="The recommended vector, token by token, in answers to the monitoring prompts"
        " with and without instructions: where they settle, and whether the prompt's last token"
        " predicts the score.",
        kinds=lambda settings: {"huggingface", "html"},
        files="dynamics/dynamics.html",
        metadata=trait_dynamics_metadata,
        is_last=True,
    ),
}
