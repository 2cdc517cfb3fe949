"""How many rows the transformers engine decodes at once, where `batch_size` is auto.

The number changes the last bits of results, through the shapes of matrix products. So it follows
from the model and the machine's memory alone: never from a measured time or from free memory, or a
resumed run would end with other bytes than one that was not interrupted.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch

from traitvec_core.models.language_model import LanguageModel

__all__ = ["default_slots"]

_SLOTS_GPU = 256
_SLOTS_CPU_SMALL = 128
# SmolLM2-135M, tokens per CPU-second of a step at 16, 32, 64 and 128 rows: 117, 150, 176 and 188 in
# float32, 118, 140, 158 and 177 in bfloat16. Beyond 64 there is little to gain, and a killed run
# loses a group of four times as many responses.
_SLOTS_CPU = 64
_SMALL_PARAMETERS = 100e6
# For keys and values: share of what the weights leave of the memory. On a CPU the rest is for the
# judge's model, the copies that grow the cache, and everything else on the machine.
_SHARE_OF_GPU = 0.6
_SHARE_OF_MACHINE = 0.25
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def default_slots(model: LanguageModel, row_tokens: int) -> int:
    """Return the number of rows to decode at once.

    Args:
        model: The model, loaded.
        row_tokens: Tokens of the longest row, prompt and response.
    """
    parameters = [p for p in model.model.parameters() if p.device.type != "meta"]
    config = cast(Any, model.model.config).get_text_config(decoder=True)
    # An upper bound for models without attention.
    heads = getattr(config, "num_attention_heads", None) or 1
    n_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or model.hidden_dim // heads
    row_bytes = 2 * model.n_blocks * n_heads * head_dim * parameters[0].element_size() * row_tokens
    if model.device.type == "cuda":
        devices = {p.device for p in parameters if p.device.type == "cuda"}
        total = sum(torch.cuda.get_device_properties(d).total_memory for d in devices)
        weights = sum(p.numel() * p.element_size() for p in parameters if p.device in devices)
        most, share = _SLOTS_GPU, _SHARE_OF_GPU
    else:
        total = _machine_bytes()
        weights = sum(p.numel() * p.element_size() for p in parameters)
        is_small = sum(p.numel() for p in parameters) < _SMALL_PARAMETERS
        most, share = _SLOTS_CPU_SMALL if is_small else _SLOTS_CPU, _SHARE_OF_MACHINE
    return max(1, min(most, int(share * (total - weights) // row_bytes)))


def _machine_bytes() -> int:
    """Return the memory of this machine, or the limit of the container if that is lower."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in _CGROUP_LIMITS:
        # `max` where there is no limit.
        with suppress(OSError, ValueError):
            total = min(total, int(file.read_text()))
    return total
