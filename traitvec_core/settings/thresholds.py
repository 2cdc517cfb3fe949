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
    """The range that the recommended vector's norm must be in.

    Attributes:
        kind: `absolute` compares `vector_norm`; `relative` compares `relative_norm`: the norm
            divided by the mean activation norm of its layer, which is comparable across models.
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
    """The thresholds of the asset checks.

    Attributes:
        contrast: The difference of mean trait scores, positive − negative, must exceed this.
        contrast_warning: From here up to `contrast` the check warns; below, it fails.
        accuracy: The held-out probe accuracy must exceed this.
        norm: Range of the recommended vector's norm.
        significance: Largest p-value that passes, against permuted labels and random directions.
        stability: Smallest cosine that passes, with vectors from resampled questions and with the
            previous vector.
        agreement: The share of the sample that a second judge, or a person, puts on the same side
            of `threshold`. Below it the check warns.
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
