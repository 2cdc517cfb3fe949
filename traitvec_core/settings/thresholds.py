"""The thresholds of the checks."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from traitvec_core.settings.group import SettingGroup

__all__ = ["CheckName", "NormThreshold", "Thresholds"]

CheckName = Literal[
    "definition", "contrast", "coverage", "agreement", "sanity", "norm", "accuracy", "confounds",
    "chance", "stability",
]  # fmt: skip


class NormThreshold(SettingGroup):
    """The range in which the recommended vector's norm must lie.

    Attributes:
        kind: `absolute` compares `vector_norm`; `relative` compares `relative_norm`, the norm over
            the mean activation norm of its layer, which carries over between models.
        minimum: Smallest norm that passes.
        maximum: Largest norm that passes.
    """

    kind: Literal["absolute", "relative"] = "absolute"
    minimum: Annotated[float, Field(ge=0)] = 15.0
    maximum: Annotated[float, Field(gt=0)] = 40.0

    @model_validator(mode="after")
    def _ordered(self) -> "NormThreshold":
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum} is not below maximum {self.maximum}")
        return self


class Thresholds(SettingGroup):
    """What the asset checks hold; section 7 of the design.

    Attributes:
        contrast: Mean trait score, positive − negative, above which the check passes.
        contrast_warning: Below `contrast` but not below this only warns.
        accuracy: Held-out probe accuracy that must be exceeded.
        norm: Range of the recommended vector's norm.
        significance: Largest p-value, against permuted labels and random directions, that passes.
        stability: Cosine with vectors from resampled questions, and with the previous one, from
            which the check passes.
        agreement: Share of the sample that a second judge, or a person, puts on the same side of
            `threshold`; below it the check warns.
    """

    contrast: Annotated[float, Field(ge=0, le=100)] = 40.0
    contrast_warning: Annotated[float, Field(ge=0, le=100)] = 20.0
    accuracy: Annotated[float, Field(ge=0, le=1)] = 0.90
    norm: NormThreshold = NormThreshold()
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    stability: Annotated[float, Field(ge=-1, le=1)] = 0.9
    agreement: Annotated[float, Field(ge=0, le=1)] = 0.85

    @model_validator(mode="after")
    def _ordered(self) -> "Thresholds":
        if self.contrast_warning > self.contrast:
            raise ValueError(
                f"contrast_warning {self.contrast_warning} is above contrast {self.contrast}"
            )
        return self
