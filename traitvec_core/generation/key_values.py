"""Keys and values of a batch to which rows are added and from which they are removed.

The tokens of every row are contiguous and end in the same column:

    column      start                 end
    row 0       . . p p p p p p t t t t
    row 1       . . . . . . p p p p t t     a mask marks the columns of a row
    row 2       p p p p p p p p t t t t

Distances within a row stay the same; masks (causal, sliding window, chunks) and alibi use nothing
else. Rotary and learned positions are passed per row.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["KeyValues", "UnsupportedCacheError"]

# Columns added when there is no room for another token.
_ROOM = 64


class UnsupportedCacheError(Exception):
    """The model's cache has something other than keys and values of each token."""


@dataclass
class _Columns:
    """The columns in use, the same for all layers."""

    n_rows: int
    start: int
    end: int
    capacity: int


class _Layer(DynamicLayer):
    """One layer's keys and values, updated in place: a new token copies only that token."""

    def __init__(self, columns: _Columns) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.columns = columns
        # Keys and values, `[slots, n_heads, capacity, dim]` each; empty until the first prompts.
        self.stores: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        at = self.columns
        for store, states in zip(self.stores, (key_states, value_states), strict=True):
            store[: at.n_rows, :, at.end] = states[:, :, 0]
        keys, values = (store[: at.n_rows, :, at.start : at.end + 1] for store in self.stores)
        return keys, values

    def get_seq_length(self) -> int:
        # Without the token of this step in any layer: a layer after its `update` would otherwise
        # count it twice.
        return self.columns.end - self.columns.start


class KeyValues:
    """The cache of a batch with at most `slots` rows.

    Args:
        slots: Most concurrent rows.
        longest_prompt: Length of the longest prompt that will be added, in tokens.
        device: Device of the mask.

    Attributes:
        cache: The cache to call the model with.
    """

    def __init__(self, slots: int, longest_prompt: int, device: torch.device) -> None:
        self._slots = slots
        self._longest_prompt = longest_prompt
        capacity = longest_prompt + _ROOM
        self._columns = _Columns(0, longest_prompt, longest_prompt, capacity)
        self._mask = torch.zeros((slots, capacity), dtype=torch.long, device=device)
        self._layers: list[_Layer] = []
        self.cache = DynamicCache()

    @property
    def n_rows(self) -> int:
        """Rows in the batch."""
        return self._columns.n_rows

    def mask(self) -> torch.Tensor:
        """The attention mask of the next step, `[n_rows, n_columns + 1]`; the new column counts."""
        at = self._columns
        return self._mask[: at.n_rows, at.start : at.end + 1]

    def add(self, prompts: DynamicCache, mask: torch.Tensor, source: torch.Tensor) -> None:
        """Add rows after the existing ones.

        Args:
            prompts: The cache after a forward pass over left-padded prompts.
            mask: The mask of that pass, `[n_prompts, width]`.
            source: The index of each new row's prompt, `[n_new]`.

        Raises:
            UnsupportedCacheError: If the cache has anything but keys and values of each token.
        """
        if not self._layers:
            self._layers = [_Layer(self._columns) for _ in prompts.layers]
            self.cache.layers = list(self._layers)
        at, width, new = self._columns, mask.shape[1], len(source)
        rows, columns = slice(at.n_rows, at.n_rows + new), slice(at.end - width, at.end)
        read = cast(list[Any], prompts.layers)
        for layer, prompt in zip(self._layers, read, strict=True):
            if not prompt.is_initialized:
                continue  # it uses the keys and values of another layer
            keys, values = prompt.keys, prompt.values
            if type(prompt) is not DynamicLayer or keys.shape[-2] != width:
                raise UnsupportedCacheError
            if not layer.stores:
                layer.stores = [self._store(keys), self._store(values)]
                layer.is_initialized = True
            for store, states in zip(layer.stores, (keys, values), strict=True):
                # Clear what a previous row left: masked values are multiplied by zero, but NaN
                # stays NaN.
                store[rows] = 0
                store[rows, :, columns] = states[source.to(states.device)]
        self._mask[rows] = 0
        self._mask[rows, columns] = mask[source]
        # The column of the next token, which `mask` already includes.
        self._mask[rows, at.end] = 1
        at.n_rows += new
        at.start = min(at.start, at.end - width)

    def advance(self) -> None:
        """Keep the column that the last step wrote."""
        at = self._columns
        at.end += 1
        if at.end == at.capacity:
            self._make_room()
        self._mask[: at.n_rows, at.end] = 1

    def drop(self, rows: list[int]) -> list[tuple[int, int]]:
        """Remove rows; the last rows move into their places.

        Returns:
            (place, row that moved there) pairs, in the previous numbering.
        """
        at = self._columns
        left = at.n_rows - len(rows)
        gone = set(rows)
        movers = [row for row in range(left, at.n_rows) if row not in gone]
        moves = list(zip([row for row in rows if row < left], movers, strict=True))
        if moves:
            places, sources = ([pair[i] for pair in moves] for i in (0, 1))
            for store in self._stores():
                store[places, :, : at.end] = store[sources, :, : at.end]
            self._mask[places] = self._mask[sources]
        at.n_rows = left
        if left:
            # The first column that any row uses.
            at.start = int(self._mask[:left].any(0).to(torch.uint8).argmax())
        else:
            at.start = at.end
        return moves

    def _store(self, like: torch.Tensor) -> torch.Tensor:
        _, n_heads, _, dim = like.shape
        return like.new_zeros((self._slots, n_heads, self._columns.capacity, dim))

    def _stores(self) -> list[torch.Tensor]:
        return [store for layer in self._layers for store in layer.stores]

    def _make_room(self) -> None:
        """Move all columns to the left, into larger stores if necessary."""
        at = self._columns
        width = at.end - at.start
        # Future prompts must end in the same column.
        end = max(width, self._longest_prompt)
        capacity = max(at.capacity, end + max(_ROOM, width // 4))
        before, after = slice(at.start, at.end), slice(end - width, end)
        at.capacity = capacity
        for layer in self._layers:
            # One store at a time, to keep only one old store beside its copy.
            for i, old in enumerate(layer.stores):
                new = self._store(old)
                new[: at.n_rows, :, after] = old[: at.n_rows, :, before]
                layer.stores[i] = new
        mask = self._mask.new_zeros((self._slots, capacity))
        mask[: at.n_rows, after] = self._mask[: at.n_rows, before]
        self._mask, at.start, at.end = mask, end - width, end
