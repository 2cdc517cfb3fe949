"""Keys and values of shared prefixes, and of the prompts that begin with them.

Each token of a tree of prefixes is stored once. In a forward pass, the tokens of every row are
contiguous and end in the same column, whatever part of them is new:

    column      0                     width
    row 0       s s s s n n n n n n n       s: stored, of the row's prefix
    row 1       . . . . s s s s n n n       n: new, the input of this pass
    row 2       . . s s s s s s s s n       .: masked

So distances within a row are those of the plain sequence, which is all that masks (causal, sliding
window, chunks) and alibi use. Rotary and learned positions are passed per row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["PrefixKeyValues", "right_aligned"]


@dataclass
class _Pass:
    """How the keys and values of the current forward pass are composed; the same for all layers.

    Attributes:
        stored_columns: Columns before the new tokens of the longest input.
        index: The stored token in each column, `[n_rows, width]`; None if all tokens are new.
        is_new: Which input tokens are no padding, `[n_rows, n_input]`.
        store_at: Where the new tokens are stored; None if they are not.
        is_kept: Whether the rows will be continued.
        rows: The kept rows that this pass continues, `[n_rows]`; None for a pass over prompts.
    """

    stored_columns: int
    index: torch.Tensor | None = None
    is_new: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))
    store_at: torch.Tensor | None = None
    is_kept: bool = False
    rows: torch.Tensor | None = None


class PrefixKeyValues:
    """The keys and values that a model's forward passes read and add to.

    Args:
        model_config: The model's configuration.
        n_stored: Number of tokens of all prefixes.

    Attributes:
        cache: The cache to call the model with.
    """

    def __init__(self, model_config: Any, n_stored: int) -> None:
        self.cache = DynamicCache(config=model_config)
        self._layers = [_Layer(n_stored) for _ in self.cache.layers]
        self.cache.layers = list(self._layers)

    def start(
        self,
        paths: list[list[int]],
        lengths: list[int],
        *,
        store_at: Sequence[int] | None = None,
        is_kept: bool = False,
    ) -> torch.Tensor:
        """Prepare a forward pass over left-padded new tokens.

        Args:
            paths: For each row the stored tokens that come before its new ones.
            lengths: Number of new tokens per row.
            store_at: Where to store each new token, row after row; None stores none.
            is_kept: Whether `go_on` will continue these rows.

        Returns:
            The attention mask, `[n_rows, width]`.
        """
        totals = [len(path) + new for path, new in zip(paths, lengths, strict=True)]
        width, n_input = max(totals), max(lengths)
        index = None
        if any(paths):
            index = torch.tensor(
                [
                    [0] * (width - total) + path + [0] * new
                    for path, new, total in zip(paths, lengths, totals, strict=True)
                ]
            )
        self._begin(
            _Pass(
                width - n_input,
                index,
                is_new=right_aligned(lengths, n_input),
                store_at=None if store_at is None else torch.tensor(store_at),
                is_kept=is_kept,
            )
        )
        return right_aligned(totals, width).long()

    def go_on(self, rows: torch.Tensor, kept_width: int) -> None:
        """Prepare a forward pass over further tokens after kept rows.

        Args:
            rows: The kept row that each new row continues, `[n_rows]`.
            kept_width: Number of columns of the kept rows.
        """
        self._begin(_Pass(kept_width, rows=rows))

    def _begin(self, current: _Pass) -> None:
        for layer in self._layers:
            layer.current = current


class _Layer(DynamicLayer):
    """One layer's keys and values."""

    def __init__(self, n_stored: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.current = _Pass(0)
        self._n_stored = n_stored
        # Keys and values each, with a token's states contiguous: `[n_stored, n_heads, dim]` and
        # `[n_rows, width, n_heads, dim]`.
        self._stored: list[torch.Tensor] = []
        self._kept: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        both = (key_states, value_states)
        if self.current.rows is not None:
            keys, values = (
                self._continued(kept, new) for kept, new in zip(self._kept, both, strict=True)
            )
            return keys, values
        self._kept = []
        if not self._stored:
            self._stored = [
                new.new_zeros((self._n_stored, new.shape[1], new.shape[3])) for new in both
            ]
        keys, values = (
            self._joined(stored, new) for stored, new in zip(self._stored, both, strict=True)
        )
        if self.current.is_kept:
            self._kept = [states.transpose(1, 2) for states in (keys, values)]
        return keys, values

    def _joined(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Return the stored and new states, `[n_rows, n_heads, width, dim]`."""
        current = self.current
        by_token = new.transpose(1, 2)
        is_new = current.is_new.to(new.device)
        if current.store_at is not None:
            stored[current.store_at.to(new.device)] = by_token[is_new]
        if current.index is None:
            return new
        index = current.index.to(new.device)
        joined = stored.index_select(0, index.flatten()).view(*index.shape, *stored.shape[1:])
        tail = joined[:, current.stored_columns :]
        tail.copy_(torch.where(is_new[:, :, None, None], by_token, tail))
        return joined.transpose(1, 2)

    def _continued(self, kept: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Return the states of continued rows, `[n_rows, n_heads, width + n_new, dim]`."""
        rows = cast(torch.Tensor, self.current.rows).to(new.device)
        n_rows, n_heads, n_new, dim = new.shape
        width = kept.shape[1]
        states = new.new_empty((n_rows, width + n_new, n_heads, dim))
        # One copy, not two: the many short continuations cost more copying than computing.
        torch.index_select(kept, 0, rows, out=states[:, :width])
        states[:, width:] = new.transpose(1, 2)
        return states.transpose(1, 2)

    def get_seq_length(self) -> int:
        # Without the tokens of this pass in any layer: a layer after its `update` would otherwise
        # count them twice.
        return self.current.stored_columns


def right_aligned(lengths: list[int], width: int) -> torch.Tensor:
    """Return `[n_rows, width]`, true in the last `lengths[row]` columns of each row."""
    return torch.arange(width) >= width - torch.tensor(lengths)[:, None]
