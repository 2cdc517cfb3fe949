"""What the stage `vectors` records, as typed models."""

from typing import ClassVar

from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.stage_names import Stage
from traitvec_core.storage.manifests import Recommendation, StageManifest
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.evidence import VectorEvidence
from traitvec_core.validation.forecast import Forecast
from traitvec_core.validation.separation import Separation, SeparationScore, VectorCosine

__all__ = ["SteeredEvidence", "VectorRow", "VectorsManifest"]


class VectorRow(BaseModel):
    """One vector, as its `{method}_layer{N}_metadata.json` describes it: the promised keys first.

    Attributes:
        vector_norm: Norm of the vector as stored, activation units.
        raw_norm: Norm before scaling.
        relative_norm: `vector_norm` over the mean activation norm of the layer.
        separation: Distance of the class means along the vector, activation units.
        chance_norm: The median norm of the same vector under swapped labels; None where labels
            cannot be swapped.
        held_out_intervals: (low, high) of each held-out figure, for readers of the file; code reads
            `VectorsManifest.separation`.
    """

    trait: str
    method: VectorMethod
    layer: int
    model: str
    vector_norm: float
    train_accuracy: float
    extraction_date: str
    raw_norm: float
    relative_norm: float
    separation: float
    scale: str
    chance_norm: float | None = None
    held_out_accuracy: float | None = None
    held_out_auroc: float | None = None
    held_out_effect_size: float | None = None
    held_out_separation: float | None = None
    held_out_intervals: dict[str, tuple[float | None, float | None]] | None = None
    n_positive: int
    n_negative: int

    @property
    def name(self) -> str:
        """`{method}_layer{layer}`, as its file is called."""
        return f"{self.method}_layer{self.layer}"

    def with_score(self, score: SeparationScore) -> "VectorRow":
        """Return the row with the vector's held-out figures."""
        estimates = {
            "accuracy": score.accuracy,
            "auroc": score.auroc,
            "effect_size": score.effect_size,
            "separation": score.separation,
        }
        intervals = {name: (each.low, each.high) for name, each in estimates.items()}
        return self.model_copy(
            update={f"held_out_{name}": each.value for name, each in estimates.items()}
            | {"held_out_intervals": intervals}
        )


class VectorsManifest(StageManifest):
    """`vectors/manifest.json`: every vector, and everything that was measured on them.

    Attributes:
        recommended: The vector that separates best; None when nothing was held out.
        evidence: What is measured on that vector alone.
        forecast: Whether steering has a chance.
    """

    stage: ClassVar[Stage] = "vectors"

    trait: str
    model: str
    recommended: Recommendation | None
    separation: Separation
    evidence: VectorEvidence | None
    chance: Chance
    forecast: Forecast
    cosines: list[VectorCosine]
    previous_cosines: list[VectorCosine]
    vectors: list[VectorRow]

    def row(self, method: str, layer: int) -> VectorRow | None:
        """Return one vector's row, or None."""
        return next((r for r in self.vectors if (r.method, r.layer) == (method, layer)), None)

    @property
    def recommended_row(self) -> VectorRow | None:
        """The row of the vector that separates best; None when none is recommended."""
        return self.row(*self.recommended.place) if self.recommended else None


class SteeredEvidence(StageManifest):
    """The part of `steering/evaluation.json` about the vector that steering chose.

    Attributes:
        evidence: What is measured on that vector, as `VectorsManifest.evidence` is on the vector
            that separates best; None where it is the same vector, or none was chosen.
    """

    stage: ClassVar[Stage] = "steering_evaluation"

    evidence: VectorEvidence | None = None
