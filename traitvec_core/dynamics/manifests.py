"""What the stage `trait_dynamics` records, as typed models."""

from typing import ClassVar

from traitvec_core.dynamics.overview import Figures, MonitoredText
from traitvec_core.dynamics.prediction import ScorePrediction
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import StageManifest

__all__ = ["NotTraced", "TracedManifest", "read_dynamics"]


class NotTraced(StageManifest):
    """`dynamics/summary.json` of a trait that was not monitored.

    Attributes:
        is_traced: Whether responses were traced; the file of a trait that was has it too.
        why: Why not.
    """

    stage: ClassVar[Stage] = "trait_dynamics"

    is_traced: bool = False
    why: str = ""


class TracedManifest(StageManifest):
    """`dynamics/summary.json` of a trait whose responses were traced.

    Attributes:
        vector: The vector that was monitored, `{method}_layer{layer}`.
        layer: Its layer.
        spread: Distance between the means of the two poles along it, activation units.
        poles: These means, of the negative and of the positive pole; None when unknown.
        judge_model: What scored the responses.
        unfinished: Judgements that another run would request again, by reason.
        whole: Figures over all responses.
        by_condition: Figures over the responses of each condition.
        prediction: The last prompt token's projection against the trait score.
        texts: Every response.
    """

    stage: ClassVar[Stage] = "trait_dynamics"

    is_traced: bool = True
    model: str
    engine: str = "transformers"
    engine_backend: str | None = None
    model_revision: str | None = None
    model_dtype: str | None = None
    attention: str | None = None
    quantization: str | None = None
    vector: str
    layer: int
    spread: float
    poles: tuple[float, float] | None
    judge_model: str
    unfinished: dict[str, int]
    experiment_spent_usd: float
    whole: Figures
    by_condition: dict[str, Figures]
    prediction: ScorePrediction
    texts: list[MonitoredText]


def read_dynamics(folder: TraitFolder) -> TracedManifest | NotTraced:
    """Return what monitoring a trait's vector recorded, or why there is nothing.

    Raises:
        TraitvecError: If the stage has not finished, or another version wrote its result.
    """
    summary = folder.manifest(NotTraced)
    return folder.manifest(TracedManifest, check_files=False) if summary.is_traced else summary
