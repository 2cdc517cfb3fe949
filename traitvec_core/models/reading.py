"""What reads a model's residual stream: in this process, or where vLLM serves the model.

Layer k is the residual stream after decoder block k, counted from 1; layer 0 is the embedding
output, the input of block 1. The last layer is read before the final norm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel

__all__ = ["READING_PROTOCOL", "Reader", "Reading", "point_of", "sum_counted"]

# What `traitvec_core/serving` and its clients agree on; raise it with every change of meaning.
READING_PROTOCOL = 1

# Tokens of each text that are summed at once. With a half-precision model, only these exist as a
# float32 copy at a time.
_TOKENS_AT_ONCE = 128


@dataclass(frozen=True)
class Reading:
    """A text whose residual stream is averaged.

    Attributes:
        ids: All token ids, those of the prompt first.
        counted: The indices of the tokens to average, one list per position; a list may be empty.
    """

    ids: list[int]
    counted: list[list[int]]


class Reader(Protocol):
    """Reads the residual stream of one model.

    Attributes:
        language_model: Renders and encodes prompts; it may have no weights in this process.
    """

    @property
    def language_model(self) -> LanguageModel:
        """Renders and encodes prompts; it may have no weights in this process."""
        ...

    def means(
        self,
        readings: Sequence[Reading],
        *,
        batch_size: int | None = None,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> torch.Tensor:
        """Return the mean residual stream over the counted tokens, summed in float32 or better.

        Args:
            readings: Texts with as many positions each, and at least one counted token.
            batch_size: Texts per batch; None chooses.
            on_batch: Called with the number of texts finished so far.

        Returns:
            float32 `[n_positions, n_texts, n_layers, hidden_dim]` on the CPU; NaN where a position
            counts no token.
        """
        ...

    def hidden(self, ids: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """Return the residual stream of a text at some layers, `[n_tokens, hidden_dim]` each."""
        ...

    def logits(self, ids: Sequence[int], *interventions: Intervention) -> torch.Tensor:
        """Return the logits after each token of a text, float32 `[n_tokens, vocabulary]`.

        Args:
            ids: The text.
            interventions: What changes the residual stream of every token.
        """
        ...


def point_of(layer: int) -> str:
    """Return interp-engine's address of a layer: blocks are counted from 0 there."""
    return "resid_pre.0" if layer == 0 else f"resid_post.{layer - 1}"


def sum_counted(is_counted: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Return the sums of the hidden states that count, without a float32 copy of all of them.

    Args:
        is_counted: Which tokens count, by position, `[batch, n_positions, n_tokens]`.
        hidden: `[batch, n_tokens, hidden_dim]`.

    Returns:
        float32 `[batch, n_positions, hidden_dim]`.
    """
    batch, n_positions, width = is_counted.shape
    total = torch.zeros(batch, n_positions, hidden.shape[-1], device=hidden.device)
    for start in range(0, width, _TOKENS_AT_ONCE):
        tokens = slice(start, start + _TOKENS_AT_ONCE)
        total.baddbmm_(is_counted[:, :, tokens].float(), hidden[:, tokens].float())
    return total
