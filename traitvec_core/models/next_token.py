"""One forward pass: the probabilities of the token after each row."""

from collections.abc import Sequence
from typing import Any, cast

import torch

from traitvec_core.models.key_value_support import forward_parameters
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.prefix_key_values import PrefixKeyValues, right_aligned

__all__ = ["NextToken"]


class NextToken:
    """Calls a model for the probabilities of some tokens to be the next.

    Args:
        model: The model.
        tokens: The tokens.
    """

    def __init__(self, model: LanguageModel, tokens: Sequence[int]) -> None:
        self._model = model
        self._parameters = forward_parameters(model)
        self._tokens = torch.tensor(list(tokens), device=model.device)

    def __call__(
        self,
        new: Sequence[Sequence[int]],
        before: PrefixKeyValues | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the probability of each token after each row, `[n_rows, n_tokens]`.

        Float32, on the CPU.

        Args:
            new: The tokens to compute.
            before: The keys and values of the tokens before them; None if there are none.
            mask: With `before`, which columns belong to each row, `[n_rows, width]`.
        """
        lengths = [len(row) for row in new]
        n_input = max(lengths)
        if mask is None:
            mask = right_aligned(lengths, n_input).long()
        pad = self._model.pad_token_id
        # Left padding, so that the next token is the last position of every row and the model
        # computes logits, with its own scaling and caps, only there.
        ids = [[pad] * (n_input - len(row)) + list(row) for row in new]
        device = self._model.device
        options: dict[str, Any] = {
            "position_ids": (mask.cumsum(1) - 1).clamp_min(0)[:, -n_input:].to(device),
            "logits_to_keep": 1,
        }
        if before is not None:
            options["past_key_values"] = before.cache
        with torch.inference_mode():
            output = cast(Any, self._model.model)(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=mask.to(device),
                use_cache=before is not None,
                **{name: value for name, value in options.items() if name in self._parameters},
            )
            logits = output.logits[:, -1].float()
            chosen = logits.index_select(1, self._tokens.to(logits.device))
            share = (chosen - logits.logsumexp(-1, keepdim=True)).exp()
            return cast(torch.Tensor, share.cpu())
