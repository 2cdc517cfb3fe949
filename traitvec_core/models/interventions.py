"""What can be done to a residual stream: add, ablate, project or cap along a direction.

An intervention is a value: it says what changes, at which layer and tokens. `models/steering.py`
makes a model do it, for all rows of a batch alike or for each row separately.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

__all__ = ["Ablation", "Addition", "Cap", "Change", "Intervention", "Positions", "Projection"]

Positions = Literal["all", "prompt", "last", "response"]
Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Intervention:
    """One change at one layer.

    Attributes:
        layer: The layer, counted from 1; 0 is the embedding output.
        vector: `[hidden_dim]`.
        positions: Which tokens to change: `all`; the `prompt`; the prompt's `last` token, after
            which the response begins; the `response`. `last` and `response` together are the
            tokens that predict the response (persona vectors call that `response`).
    """

    layer: int
    vector: torch.Tensor
    positions: Positions = field(default="all", kw_only=True)

    # The class whose `together` does this intervention side by side with others.
    family: ClassVar[type["Intervention"]]
    # An operand of this value everywhere changes nothing, bit for bit; None if there is none.
    neutral: ClassVar[float | None] = None

    def problem(self) -> str | None:
        """Return why this intervention is invalid for every model, or None."""
        return None if torch.isfinite(self.vector).all() else "the vector is not finite"

    def on(self, like: torch.Tensor) -> Change:
        """Return the function that changes a residual stream of the device and dtype of `like`."""
        return self.family.together([self], self.operand(like))

    def operand(self, like: torch.Tensor) -> torch.Tensor:
        """Return what `together` computes with, `[hidden_dim]`, on the device of `like`."""
        raise NotImplementedError

    @classmethod
    def together(cls, items: Sequence["Intervention | None"], operands: torch.Tensor) -> Change:
        """Return the function that changes row i of a batch by the i-th intervention.

        Args:
            items: Interventions of this family, one per row; or a single one for every row. None,
                for rows that do not change, only where the family has a neutral operand.
            operands: Their operands, `[n_rows, 1, hidden_dim]`; or `[hidden_dim]` for every row.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Addition(Intervention):
    """Add `coefficient · vector`: h + c·v, in the model's dtype.

    Attributes:
        coefficient: How many times the vector is added; negative steers towards the other pole.
    """

    coefficient: float = 1.0

    # 0 + -0 is 0, but -0 + 0 is not -0.
    neutral: ClassVar[float | None] = -0.0

    def problem(self) -> str | None:
        """See `Intervention`."""
        is_finite = torch.isfinite(self.coefficient * self.vector).all()
        return None if is_finite else "coefficient · vector is not finite"

    def operand(self, like: torch.Tensor) -> torch.Tensor:
        """See `Intervention`: what is added."""
        return self.coefficient * self.vector.to(like.device, like.dtype)

    @classmethod
    def together(cls, items: Sequence[Intervention | None], operands: torch.Tensor) -> Change:
        """See `Intervention`."""
        return lambda hidden: hidden + operands


Addition.family = Addition


@dataclass(frozen=True, eq=False)
class _Clamp(Intervention):
    """Keep h·v̂ inside a range, in float32 or better; v̂ is the vector scaled to length 1."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest h·v̂ afterwards."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """See `Intervention`."""
        if not torch.isfinite(self.vector).all() or not self.vector.any():
            return "the vector has no direction: it is zero or not finite"
        low, high = self.range
        if not low <= high or low == torch.inf or high == -torch.inf:
            return f"no value is between {low} and {high}"
        return None

    def operand(self, like: torch.Tensor) -> torch.Tensor:
        """See `Intervention`: v̂."""
        wide = self.vector.to(like.device, torch.float64)
        unit: torch.Tensor = wide / wide.norm()
        return unit.to(torch.promote_types(like.dtype, torch.float32))

    @classmethod
    def together(cls, items: Sequence[Intervention | None], operands: torch.Tensor) -> Change:
        """See `Intervention`."""
        ranges = [item.range for item in items if isinstance(item, _Clamp)]
        # Low and high: `[n_rows, 1]` each, or one number for every row.
        bounds = torch.tensor(ranges, dtype=operands.dtype, device=operands.device).T
        low, high = bounds[:, 0] if operands.dim() == 1 else bounds.unsqueeze(-1)

        def change(hidden: torch.Tensor) -> torch.Tensor:
            wide = hidden.to(operands.dtype)
            # A sum per token, not a matrix product, whose rounding depends on the batch.
            projection = (wide * operands).sum(-1)
            shift = (projection.clamp(low, high) - projection).unsqueeze(-1)
            clamped: torch.Tensor = wide + shift * operands
            return clamped.to(hidden.dtype)

        return change


_Clamp.family = _Clamp


@dataclass(frozen=True, eq=False)
class Cap(_Clamp):
    """Keep the projection on the vector's direction inside a range.

    A token whose projection is already inside stays unchanged, bit for bit.

    Attributes:
        low: Smallest h·v̂ afterwards, in activation units.
        high: Largest h·v̂ afterwards.
    """

    low: float = -torch.inf
    high: float = torch.inf

    @property
    def range(self) -> tuple[float, float]:
        """See `_Clamp`."""
        return self.low, self.high


@dataclass(frozen=True, eq=False)
class Projection(_Clamp):
    """Set the projection on the vector's direction to one value: h + (value − h·v̂)·v̂.

    Attributes:
        value: h·v̂ afterwards, in activation units.
    """

    value: float

    @property
    def range(self) -> tuple[float, float]:
        """See `_Clamp`."""
        return self.value, self.value


@dataclass(frozen=True, eq=False)
class Ablation(_Clamp):
    """Remove the component along the vector's direction: h − (h·v̂)·v̂.

    Later blocks may write it again. Arditi et al. 2024 (arXiv:2406.11717) remove it at every layer:
    `steer(model, *(Ablation(k, vector) for k in range(model.n_layers)))`.
    """

    @property
    def range(self) -> tuple[float, float]:
        """See `_Clamp`."""
        return 0.0, 0.0
