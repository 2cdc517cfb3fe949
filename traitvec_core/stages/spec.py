"""All that the pipeline needs to know about a stage: one frozen spec, beside its code."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.files import model_identity
from traitvec_core.stage_names import METADATA_FILE, Stage
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.storage.folders import TraitFolder

if TYPE_CHECKING:
    from traitvec_core.judging.cost_estimate import JudgingCost
    from traitvec_core.judging.judgement_store import JudgementStore

__all__ = [
    "FILTER_SETTINGS",
    "JUDGE_SETTINGS",
    "MODEL_SETTINGS",
    "PROMPT_SETTINGS",
    "EstimateCosts",
    "Place",
    "StageSpec",
    "always",
    "count_unfinished",
    "generation_place",
    "no_inputs",
    "nothing_elsewhere",
    "reading_place",
]

Place = Literal["gpu", "elsewhere", "here"]
"""Where a stage does its work: with a model in this process, behind an API, or on this CPU."""

EstimateCosts = Callable[[TraitFolder, ExperimentSettings, "JudgementStore"], list["JudgingCost"]]

# Settings that several stages depend on.
MODEL_SETTINGS = ("model", "revision", "dtype", "attention", "quantization")
PROMPT_SETTINGS = ("elicitation", "instruction_role")
FILTER_SETTINGS = ("threshold", "min_coherence", "pairing")
JUDGE_SETTINGS = ("judge_model", "judge_provider", "judge_base_url")
# Settings that came later: left out at these values, so that earlier results stay fresh.
_EARLIER = {"elicitation": "instructions", "second_elicitation": None, "style_stress": 0}
_MODEL_NAMES = ("model", "judge_model", "second_judge")


def always(settings: ExperimentSettings) -> bool:
    """Return True: most stages do their work whatever the settings say."""
    return True


def generation_place(settings: ExperimentSettings) -> Place:
    """Where responses are generated."""
    return "elsewhere" if settings.engine == "server" else "gpu"


def reading_place(settings: ExperimentSettings) -> Place:
    """Where activations are read and the model is steered."""
    return "elsewhere" if settings.engine_reads else "gpu"


def count_unfinished(metadata: Mapping[str, Any]) -> int:
    """Return how many judgements a stage lacks by its metadata."""
    return sum(metadata.get("unfinished", {}).values())


def no_inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    """Return no inputs: the definition is written by the user."""
    return {}


def nothing_elsewhere(folder: TraitFolder, settings: ExperimentSettings) -> tuple[str, ...]:
    """Return no other folders: most stages read only their trait's."""
    return ()


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage of the pipeline. Every table that lists stages derives from these.

    Attributes:
        name: Its name in files, in the command line and in Dagster.
        upstream: The stages that it is made from. Staleness goes by content, so an edge does not
            mean that all of it is redone: a changed rubric leaves the responses as they are.
        version: Raise it when the stage's arithmetic changes: earlier results are then stale.
        settings: The settings that its result depends on; `sampling.seed` is one part of a group.
            Batch size, concurrency, prices, the mode of judging and a server's address are in
            none, because they change nothing but a result's last bits.
        inputs: Content hashes of everything that it is made from, by name. Those of other stages
            are named like the stage.
        elsewhere: What it reads besides its trait's folder, as `experiment` or `experiment/trait`
            below the tree: with a bucket, these are synced before it is made or checked.
        make: Makes it; None for `definition`, which the user writes.
        place: Where it works, under these settings.
        is_on: Whether it has anything to do under these settings; one that has not still
            finishes, and says so.
        estimate: What its judge will cost; None for a stage that asks no judge.
        count_missing: How many judgements a result lacks, by its metadata. A redone stage that
            lacks more than before does not replace the earlier result.
    """

    name: Stage
    upstream: tuple[Stage, ...]
    version: str
    settings: tuple[str, ...]
    inputs: Callable[[TraitFolder, ExperimentSettings], Mapping[str, str]]
    make: Callable[[StageContext], StageOutput] | None
    place: Callable[[ExperimentSettings], Place]
    elsewhere: Callable[[TraitFolder, ExperimentSettings], Iterable[str]] = nothing_elsewhere
    is_on: Callable[[ExperimentSettings], bool] = always
    estimate: EstimateCosts | None = None
    count_missing: Callable[[Mapping[str, Any]], int] = count_unfinished

    @property
    def metadata_file(self) -> str:
        """Path of its metadata, below the trait's folder."""
        return METADATA_FILE[self.name]

    def settings_of(self, settings: ExperimentSettings) -> dict[str, Any]:
        """Return the settings that its result depends on, ready for JSON."""
        include: dict[str, Any] = {}
        for name in self.settings:
            group, _, part = name.partition(".")
            include[group] = {part: True} if part else True
        dumped = {
            name: value
            for name, value in settings.model_dump(mode="json", include=include).items()
            if value != _EARLIER.get(name, ...)
        }
        # A GGUF file that was moved is still the same model.
        names = {name: model_identity(dumped[name]) for name in _MODEL_NAMES if dumped.get(name)}
        return {**dumped, **names}
