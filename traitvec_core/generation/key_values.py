"""Keys and values of a batch whose rows come and go.

Every row's tokens lie side by side and end in the same column, whenever the row came:

    column      start                 end
    row 0       . . p p p p p p t t t t
    row 1       . . . . . . p p p p t t     a mask says which columns are a row's own
    row 2       p p p p p p p p t t t t

So distances within a row are what they were, which is all that masks (causal, sliding window,
chunks) and alibi look at; rotary and learned positions are handed over per row.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["KeyValues", "UnsupportedCacheError"]

# Columns that are added when there is no room for another token.
_ROOM = 64


class UnsupportedCacheError(Exception):
    """The model keeps something else than keys and values for each token."""


@dataclass
class _Columns:
    """Where the tokens of all layers lie."""

    n_rows: int
    start: int
    end: int
    capacity: int


class _Layer(DynamicLayer):
    """One layer's keys and values, in place: adding a token copies that token and nothing else."""

    def __init__(self, columns: _Columns) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.columns = columns
        # Of keys and of values, `[slots, n_heads, capacity, dim]`; none until the first prompts.
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
        # Of the tokens before this step, for every layer alike: one that has been through `update`
        # must not count the new one twice.
        return self.columns.end - self.columns.start


class KeyValues:
    """The cache of a batch with at most `slots` rows.

    Args:
        slots: The most rows at once.
        longest_prompt: The longest prompt that will be added, in tokens.
        device: Where the mask lies.

    Attributes:
        cache: What the model is called with.
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
        """Add rows behind those that are there.

        Args:
            prompts: The cache after a forward pass over prompts that were padded on the left.
            mask: The mask of that pass, `[n_prompts, width]`.
            source: For each new row the number of its prompt, `[n_new]`.

        Raises:
            UnsupportedCacheError: If the cache holds anything but each token's keys and values.
        """
        if not self._layers:
            self._layers = [_Layer(self._columns) for _ in prompts.layers]
            self.cache.layers = list(self._layers)
        at, width, new = self._columns, mask.shape[1], len(source)
        rows, columns = slice(at.n_rows, at.n_rows + new), slice(at.end - width, at.end)
        read = cast(list[Any], prompts.layers)
        for layer, prompt in zip(self._layers, read, strict=True):
            if not prompt.is_initialized:
                continue  # it looks at another layer's
            keys, values = prompt.keys, prompt.values
            if type(prompt) is not DynamicLayer or keys.shape[-2] != width:
                raise UnsupportedCacheError
            if not layer.stores:
                layer.stores = [self._store(keys), self._store(values)]
                layer.is_initialized = True
            for store, states in zip(layer.stores, (keys, values), strict=True):
                # What lies under the mask is multiplied by zero, and NaN would stay NaN: nothing
                # of a row that was here before may be left.
                store[rows] = 0
                store[rows, :, columns] = states[source.to(states.device)]
        self._mask[rows] = 0
        self._mask[rows, columns] = mask[source]
        # The column of the next token, which `mask` shows already.
        self._mask[rows, at.end] = 1
        at.n_rows += new
        at.start = min(at.start, at.end - width)

    def advance(self) -> None:
        """Keep the column that the last step has written."""
        at = self._columns
        at.end += 1
        if at.end == at.capacity:
            self._make_room()
        self._mask[: at.n_rows, at.end] = 1

    def drop(self, rows: list[int]) -> list[tuple[int, int]]:
        """Remove rows; the last ones move into their places.

        Returns:
            (place, row that moved there) pairs, in the numbers from before.
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
            # The first column that is anyone's.
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
        """Move everything to the left, into larger stores if these are too small."""
        at = self._columns
        width = at.end - at.start
        # Prompts that are still to come end where the others do.
        end = max(width, self._longest_prompt)
        capacity = max(at.capacity, end + max(_ROOM, width // 4))
        before, after = slice(at.start, at.end), slice(end - width, end)
        at.capacity = capacity
        for layer in self._layers:
            # One after the other, so that little is there twice.
            for i, old in enumerate(layer.stores):
                new = self._store(old)
                new[: at.n_rows, :, after] = old[: at.n_rows, :, before]
                layer.stores[i] = new
        mask = self._mask.new_zeros((self._slots, capacity))
        mask[: at.n_rows, after] = self._mask[: at.n_rows, before]
        self._mask, at.start, at.end = mask, end - width, end
