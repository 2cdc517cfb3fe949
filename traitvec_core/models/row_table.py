"""The interventions of each row of a batch, at each layer, as few tensor operations.

Interventions of one family at one layer and the same positions are one step for all rows: an
addition is one sum with the rows' vectors `[n_rows, 1, hidden_dim]`, and rows without one get
-0, which changes no bit. Rows keep the order of their interventions.
"""

from collections.abc import Callable, Sequence

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.forward_pass import ForwardPass
from traitvec_core.models.interventions import Change, Intervention

__all__ = ["RowTable"]


class RowTable:
    """What steering hooks read.

    Args:
        forward_pass: Knows which tokens of the current pass are prompt and response.
    """

    def __init__(self, forward_pass: ForwardPass) -> None:
        self._forward_pass = forward_pass
        self._rows: list[tuple[Intervention, ...]] | None = None
        self._steps: dict[int, list[_Step]] = {}
        # By intervention, device and dtype: rows change often, and their vectors do not.
        self._operands: dict[tuple[Intervention, torch.device, torch.dtype], torch.Tensor] = {}

    def set_all(self, interventions: Sequence[Intervention]) -> None:
        """Steer every row alike, in batches of any size."""
        self._rows = None
        self._plan([tuple(interventions)])

    def set_rows(self, rows: Sequence[Sequence[Intervention]]) -> None:
        """Steer each row by its interventions; equal rows as before cost nothing."""
        new = [tuple(row) for row in rows]
        if new != self._rows:
            self._rows = new
            self._plan(new)

    def change(self, layer: int) -> Change:
        """Return the function that changes a residual stream `[n_rows, tokens, hidden_dim]`."""

        def change(hidden: torch.Tensor) -> torch.Tensor:
            steps = self._steps.get(layer)
            if not steps:
                return hidden
            if self._rows is not None and len(self._rows) != len(hidden):
                raise TraitvecError(
                    f"steering is set for {len(self._rows)} rows, but the forward pass has"
                    f" {len(hidden)}; give every row of the batch its interventions"
                )
            for step in steps:
                changed = step.on(hidden, self._operand)(hidden)
                hidden = self._forward_pass.limited(changed, hidden, step.first.positions)
            return hidden

        return change

    def _plan(self, rows: Sequence[tuple[Intervention, ...]]) -> None:
        self._steps = {}
        for number, row in enumerate(rows):
            # The first step that may follow the row's last one, by layer.
            free: dict[int, int] = {}
            for item in row:
                steps = self._steps.setdefault(item.layer, [])
                place = free.get(item.layer, 0)
                while place < len(steps) and not steps[place].takes(item):
                    place += 1
                if place == len(steps):
                    steps.append(_Step(item, [None] * len(rows), is_for_all=self._rows is None))
                steps[place].items[number] = item
                free[item.layer] = place + 1

    def _operand(self, item: Intervention, like: torch.Tensor) -> torch.Tensor:
        key = (item, like.device, like.dtype)
        if key not in self._operands:
            self._operands[key] = item.operand(like)
        return self._operands[key]


class _Step:
    """Interventions of one family at one layer and the same positions, at most one per row."""

    def __init__(
        self, first: Intervention, items: list[Intervention | None], *, is_for_all: bool
    ) -> None:
        self.first = first
        self.items = items
        self._is_for_all = is_for_all
        self._prepared: dict[tuple[torch.device, torch.dtype], Change] = {}

    def takes(self, item: Intervention) -> bool:
        """Whether an intervention can be done in this step."""
        return item.family is self.first.family and item.positions == self.first.positions

    def on(
        self, like: torch.Tensor, operand: Callable[[Intervention, torch.Tensor], torch.Tensor]
    ) -> Change:
        """Return the change of a residual stream of the device and dtype of `like`."""
        key = (like.device, like.dtype)
        if key not in self._prepared:
            self._prepared[key] = (
                self.first.on(like)
                if self._is_for_all
                else self._of_rows(lambda item: operand(item, like))
            )
        return self._prepared[key]

    def _of_rows(self, operand: Callable[[Intervention], torch.Tensor]) -> Change:
        family = self.first.family
        own = [row for row, item in enumerate(self.items) if item is not None]
        if family.neutral is None and len(own) < len(self.items):
            return self._of_some(own, operand)
        blank = torch.full_like(operand(self.first), family.neutral or 0.0)
        operands = [blank if item is None else operand(item) for item in self.items]
        return family.together(self.items, torch.stack(operands).unsqueeze(1))

    def _of_some(self, own: list[int], operand: Callable[[Intervention], torch.Tensor]) -> Change:
        items = [item for item in self.items if item is not None]
        operands = torch.stack([operand(item) for item in items]).unsqueeze(1)
        change = self.first.family.together(items, operands)
        index = torch.tensor(own, device=operands.device)
        return lambda hidden: hidden.index_copy(0, index, change(hidden[index]))
