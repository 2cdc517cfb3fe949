"""The least time that forward passes could take on a device, by what they compute and read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.on_gpu.device import Device
from traitvec_core.models.language_model import LanguageModel

__all__ = ["Passes", "count_passes"]


class Passes:
    """Forward passes, counted.

    Prefill is limited by matrix products: 2 operations per weight of the blocks and token, over the
    measured speed of a large product. A decoding step is limited by memory: the weights of blocks
    and head once, and the keys and values of all tokens attended to (padding included), over the
    measured bandwidth of a copy.

    Attributes:
        n_steps: Decoding steps.
        n_rows: Rows of all steps together.
        n_prefill_tokens: Tokens of prompts, padding included.
        n_attended: Tokens that decoding steps attended to, over all rows and steps.
    """

    def __init__(self, device: Device, model: LanguageModel) -> None:
        self.n_steps = self.n_rows = self.n_prefill_tokens = self.n_attended = 0
        self._device = device
        config: Any = model.model.config
        heads = config.num_key_value_heads
        head_dim = (
            getattr(config, "head_dim", None) or model.hidden_dim // config.num_attention_heads
        )
        size = model.model.dtype.itemsize
        self._body = sum(p.numel() for p in model.blocks.parameters())
        head = model.model.get_output_embeddings().weight.numel()
        self._weight_bytes = (self._body + head) * size
        self._bytes_per_token = 2 * model.n_blocks * heads * head_dim * size

    def add(self, n_rows: int, n_tokens: int, n_attended: int) -> None:
        """Count a pass over `n_rows` rows of `n_tokens` new tokens each."""
        if n_tokens == 1:
            self.n_steps += 1
            self.n_rows += n_rows
            self.n_attended += n_rows * n_attended
        else:
            self.n_prefill_tokens += n_rows * n_tokens

    @property
    def prefill_s(self) -> float:
        """The least time of all prefill."""
        return 2 * self._body * self.n_prefill_tokens / self._device.peak_flops

    @property
    def decoding_s(self) -> float:
        """The least time of all decoding steps."""
        read = self.n_steps * self._weight_bytes + self.n_attended * self._bytes_per_token
        return read / self._device.bandwidth


@contextmanager
def count_passes(device: Device, model: LanguageModel) -> Iterator[Passes]:
    """Count the passes of the model's decoder inside the `with`."""
    passes = Passes(device, model)

    def before(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        tokens = kwargs.get("input_ids")
        if tokens is None:
            tokens = kwargs["inputs_embeds"]
        mask = kwargs.get("attention_mask")
        n_attended = mask.shape[-1] if isinstance(mask, torch.Tensor) else tokens.shape[1]
        passes.add(tokens.shape[0], tokens.shape[1], n_attended)

    handle = model.decoder.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()
