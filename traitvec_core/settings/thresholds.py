"""The thresholds of the checks."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from traitvec_core.settings.group import SettingGroup

__all__ = ["CheckName", "NormThreshold", "Thresholds"]

CheckName = Literal[
    "definition", "contrast", "coverage", "agreement", "sanity", "norm", "accuracy", "confounds",
    "chance", "stability", "steering",
]  # fmt: skip

_NORM_RANGES: dict[str, tuple[float, float | None]] = {
    "chance": (2.0, None),
    "absolute": (15.0, 40.0),
}


class NormThreshold(SettingGroup):
    """The range that the recommended vector's norm must be in.

    Attributes:
        kind: `chance` compares `vector_norm` with `chance_norm`: the norm of the same vector under
            swapped labels. `absolute` compares `vector_norm` itself, which carries over only
            between similar models; `relative` compares `relative_norm`, the norm over the mean
            activation norm of the layer.
        minimum: Smallest norm that passes. For `chance`, a multiple of `chance_norm`, 2 by default;
            for `absolute`, 15 by default; `relative` has no default.
        maximum: Largest norm that passes: none for `chance`, 40 for `absolute` by default.
    """

    kind: Literal["chance", "absolute", "relative"] = "chance"
    minimum: Annotated[float, Field(ge=0)]
    maximum: Annotated[float, Field(gt=0)] | None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_kind(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        kind = raw.get("kind", "chance")
        if kind == "relative" and not {"minimum", "maximum"} <= raw.keys():
            raise ValueError("kind: relative needs a minimum and a maximum, such as 0.1 and 1.5")
        # What is no text cannot be looked up; its own check names it.
        minimum, maximum = _NORM_RANGES.get(str(kind), (0.0, None))
        return {"minimum": minimum, "maximum": maximum, **raw}

    @model_validator(mode="after")
    def _ordered(self) -> "NormThreshold":
        if self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum} is not below maximum {self.maximum}")
        return self


class Thresholds(SettingGroup):
    """The thresholds of the asset checks.

    Attributes:
        contrast: The difference of mean trait scores, positive − negative, must exceed this.
        contrast_warning: From here up to `contrast` the check warns; below, it fails.
        accuracy: The held-out balanced probe accuracy must exceed this.
        norm: Range of the recommended vector's norm.
        significance: Largest p-value that passes, against swapped labels and random directions.
        stability: Smallest cosine that passes, with vectors from resampled questions and
            instruction pairs, and with the previous vector.
        share: The share of the separation that length, words, refusing, the embeddings or the
            instruction may explain; above it the check fails.
        share_warning: Above this share, and up to `share`, the check warns.
        wrong_way: The share of held-out questions that steering may move the wrong way before the
            check warns.
        agreement: The share of the sample that a second judge, or a person, puts on the same side
            of `threshold`. Below it the check warns.
    """

    contrast: Annotated[float, Field(ge=0, le=100)] = 40.0
    contrast_warning: Annotated[float, Field(ge=0, le=100)] = 20.0
    accuracy: Annotated[float, Field(ge=0, le=1)] = 0.90
    norm: NormThreshold = Field(default_factory=lambda: NormThreshold.model_validate({}))
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    stability: Annotated[float, Field(ge=-1, le=1)] = 0.9
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    share_warning: Annotated[float, Field(ge=0, le=1)] = 0.25
    wrong_way: Annotated[float, Field(ge=0, le=1)] = 0.25
    agreement: Annotated[float, Field(ge=0, le=1)] = 0.85

    @model_validator(mode="after")
    def _ordered(self) -> "Thresholds":
        if self.contrast_warning > self.contrast:
            raise ValueError(
                f"contrast_warning {self.contrast_warning} is above contrast {self.contrast}"
            )
        if self.share_warning > self.share:
            raise ValueError(f"share_warning {self.share_warning} is above share {self.share}")
        return self
