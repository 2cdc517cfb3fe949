"""Which tokens of a forward pass are prompt and which are response."""

from collections.abc import Sequence
from typing import Any

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.interventions import Positions

__all__ = ["ForwardPass"]


class ForwardPass:
    """The current forward pass; `begin` is a forward pre-hook of the model.

    Args:
        prompt_lengths: Number of prompt tokens of each row, for passes that read prompt and
            response together. None: the first pass over a cache is the prompt, later ones the
            response.
    """

    def __init__(self, prompt_lengths: Sequence[int] | None = None) -> None:
        self._prompt_lengths = prompt_lengths
        self._mask: torch.Tensor | None = None
        self._cache: Any = None
        self._n_seen = 0

    def begin(self, _module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        """Remember the mask and the cache of a forward pass."""
        mask = kwargs.get("attention_mask")
        if mask is None or (isinstance(mask, torch.Tensor) and mask.dim() == 2):
            self._mask = mask
        self._cache = kwargs.get("past_key_values", kwargs.get("cache_params"))
        # Counted before any block extends the cache.
        self._n_seen = _n_seen(self._cache)

    def limited(
        self, changed: torch.Tensor, hidden: torch.Tensor, positions: Positions
    ) -> torch.Tensor:
        """Return `changed` at these positions and `hidden` elsewhere, `[batch, tokens, dim]`.

        Raises:
            TraitvecError: If the pass does not show where the prompt ends.
        """
        if positions == "all":
            return changed
        if self._prompt_lengths is None and self._n_seen:
            return changed if positions == "response" else hidden
        return torch.where(self._selects(positions, hidden).unsqueeze(-1), changed, hidden)

    def _selects(self, positions: Positions, hidden: torch.Tensor) -> torch.Tensor:
        """Return, for each token, whether it is at these positions: bool `[batch, tokens]`."""
        shape, device = hidden.shape[:2], hidden.device
        mask = self._mask
        if mask is None:
            mask = torch.ones(shape[0], self._n_seen + shape[1])
        mask = mask.to(device, torch.bool)
        # The index of each token in its text, on whichever side the padding is.
        index = (mask.cumsum(1) - 1)[:, -shape[1] :]
        n_prompt = self._n_prompt(mask)
        is_at = {
            "prompt": index < n_prompt,
            "last": index == n_prompt - 1,
            "response": index >= n_prompt,
        }
        return is_at[positions] & mask[:, -shape[1] :]

    def _n_prompt(self, mask: torch.Tensor) -> torch.Tensor:
        """Return the number of prompt tokens of each row, `[batch, 1]`."""
        if self._prompt_lengths is None:
            if self._cache is None:
                raise TraitvecError(
                    "this forward pass does not show where the prompt ends; steer at all positions,"
                    " or pass prompt_lengths"
                )
            return mask.sum(1, keepdim=True)
        if len(self._prompt_lengths) != len(mask):
            raise TraitvecError(
                f"prompt_lengths has {len(self._prompt_lengths)} rows, but the forward pass has"
                f" {len(mask)}"
            )
        return torch.tensor(self._prompt_lengths, device=mask.device).unsqueeze(1)


def _n_seen(cache: Any) -> int:
    """Return the number of tokens in a cache, including padding."""
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except ValueError:
        # A recurrent state only records whether it has seen any token.
        return int(cache.has_previous_state())
