"""The figures that decide whether a vector is used, each with its interval or why there is none."""

from typing import Literal

from pydantic import BaseModel

from traitvec_core.estimate import Estimate

__all__ = ["KeyFigure", "KeyFigureName"]

KeyFigureName = Literal["trait_moved", "coherence_moved", "accuracy", "instruction_share"]

# Sign and digits, factor, unit.
_FORMATS: dict[KeyFigureName, tuple[str, int, str]] = {
    "trait_moved": ("+z.0f", 1, ""),
    "coherence_moved": ("+z.0f", 1, ""),
    "accuracy": ("z.3f", 1, ""),
    "instruction_share": ("z.0f", 100, "%"),
}


class KeyFigure(BaseModel):
    """One of the four figures that a report opens with.

    Attributes:
        name: `trait_moved` and `coherence_moved` are points of 0–100 under the tested dose,
            `accuracy` is balanced and held out, `instruction_share` is a share of the separation.
        label: What it is, in a few words.
        estimate: The figure; without a value where it was not measured.
        beside: What to compare it with; empty for nothing.
        missing: Why there is no value; empty where there is one.
    """

    name: KeyFigureName
    label: str
    estimate: Estimate = Estimate()
    beside: str = ""
    missing: str = ""

    @property
    def value_text(self) -> str:
        """The value as readers see it; a dash where it is missing, never 0."""
        return self._format(self.estimate.value)

    @property
    def interval_text(self) -> str:
        """The 95% interval in brackets; empty where there is none."""
        ends = self.estimate.interval
        if self.estimate.value is None or ends is None:
            return ""
        return f"[{self._format(ends[0])}, {self._format(ends[1])}]"

    @property
    def text(self) -> str:
        """Label, value and interval on one line, or why there is no value."""
        if self.estimate.value is None:
            return f"{self.label}: not measured ({self.missing})"
        text = f"{self.label} {self.value_text} {self.interval_text}".rstrip()
        # How far a vector moves a trait says little without what prompting and chance do.
        return f"{text} ({self.beside})" if self.beside and self.name == "trait_moved" else text

    def _format(self, value: float | None) -> str:
        if value is None:
            return "–"
        spec, factor, unit = _FORMATS[self.name]
        return f"{factor * value:{spec}}{unit}".replace("-", "−")
