"""What transformers leaves out when it reads a GGUF file, and what we add.

Read from transformers 5.23: its reader takes the sizes and the rotary base, and silently drops
rotary scaling, soft-capping, turn-end tokens and pre-tokenizers that it does not know. Each of them
changes tokens or activations without an error.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from traitvec_core.errors import TraitvecError
from traitvec_core.models.gguf_header import GgufHeader

__all__ = ["complete_config", "complete_tokenizer", "generation_config"]

# The only constants that Llama 3.1 to 3.3 were published with; the factor differs.
_LLAMA3 = {
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip
_SOFT_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
# llama.cpp scales the queries of these by hidden size over heads, and has no key for it.
_SCALED_BY_HIDDEN = {("gemma2", 46), ("gemma3", 62)}
_READS_SCALING = {"gpt-oss", "qwen35", "qwen35moe"}
# As in llama.cpp: these look a word up before they merge, and begin with BOS by default.
_LLAMA3_SPLITS = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2"}
# As in llama.cpp, which splits numbers into digits for these vocabularies, then as GPT-2 does.
_DIGITS = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"}
# As in llama.cpp: texts of tokens that end a turn, for files that do not name their ids.
_TURN_ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>",
    "<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<turn|>", "<|return|>",
    "<|call|>",
)  # fmt: skip
_ADDED_TYPES = {3, 4}  # control and user-defined tokens


def complete_config(config: PreTrainedConfig, header: GgufHeader, path: Path) -> None:
    """Add to a configuration what its reader left out of the file.

    Args:
        config: The configuration as transformers read it; changed in place.
        header: The file's header.
        path: The file.

    Raises:
        TraitvecError: If the file scales its rotary embeddings in a way that we cannot express.
    """
    for cap in _SOFT_CAPS:
        value = header.of_architecture(cap)
        if value is not None and hasattr(config, cap):
            setattr(config, cap, float(value))
    architecture = header.architecture
    if (architecture, config.num_hidden_layers) in _SCALED_BY_HIDDEN:
        config.query_pre_attn_scalar = config.hidden_size / config.num_attention_heads
    scaling = _rope_scaling(header, path)
    if scaling:
        rope = dict(getattr(config, "rope_parameters", None) or {})
        # Models with sliding windows scale only where the attention is full.
        full = rope.get("full_attention")
        config.rope_parameters = (
            {**rope, "full_attention": {**full, **scaling}} if full else {**rope, **scaling}
        )


def _rope_scaling(header: GgufHeader, path: Path) -> dict[str, Any] | None:
    """Return the parameters of rotary scaling that the file asks for, or None."""
    tensors = {tensor.name: tensor for tensor in header.tensors}
    kind = str(header.of_architecture("rope.scaling.type", "none"))
    factor = float(header.of_architecture("rope.scaling.factor", 1.0))
    original = header.of_architecture("rope.scaling.original_context_length")
    if header.architecture in _READS_SCALING:
        return None
    if "rope_freqs.weight" in tensors:
        kind = "of its rope_freqs"
        freqs = tensors["rope_freqs.weight"]
        factors = np.fromfile(path, "<f4", freqs.size, offset=header.data_start + freqs.offset)
        theta = float(header.of_architecture("rope.freq_base", 10_000.0))
        scaling = _llama3_scaling(torch.from_numpy(factors), theta)
        if scaling:
            return scaling
    elif any(name.startswith("rope_factors_") for name in tensors):
        kind = "longrope"
    elif kind in {"none", ""} or (kind == "linear" and factor == 1.0):
        return None
    elif kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    elif kind == "yarn" and original:
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    raise TraitvecError(
        f"model {str(path)!r}: its rotary scaling ({kind}) cannot be read from GGUF; use the"
        " model's Hugging Face id or folder"
    )


def _llama3_scaling(factors: torch.Tensor, theta: float) -> dict[str, Any] | None:
    """Return the rotary parameters of Llama 3.1 to 3.3 that give a file's frequency factors.

    Args:
        factors: `[head_dim / 2]`, what llama.cpp divides each frequency by.
        theta: The rotary base.

    Returns:
        The parameters, or None if these factors are not Llama 3's.
    """
    factor = float(factors.max())
    n = len(factors)
    wavelength = 2 * math.pi * theta ** (torch.arange(n, dtype=torch.float64) / n)
    original = _LLAMA3["original_max_position_embeddings"]
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    smooth = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if not torch.allclose(expected, factors.double(), rtol=1e-3):
        return None
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}


def generation_config(header: GgufHeader) -> GenerationConfig:
    """Return a generation config whose end tokens are the file's.

    A GGUF file has no `generation_config.json`. Its `eos` is often the end of a text, not of a
    turn, so without the others responses would never stop.
    """
    kinds = header.metadata.get("tokenizer.ggml.token_type", [])
    ends = [header.special_id(name) for name in ("eos", "eot", "eom")]
    for number, (text, kind) in enumerate(zip(header.tokens, kinds, strict=False)):
        if kind in _ADDED_TYPES and text in _TURN_ENDS:
            ends.append(number)
    ids = list(dict.fromkeys(end for end in ends if end is not None))
    return GenerationConfig(
        bos_token_id=header.special_id("bos"),
        eos_token_id=ids or None,
        pad_token_id=header.special_id("padding"),
    )


def complete_tokenizer(tokenizer: PreTrainedTokenizerBase, header: GgufHeader) -> str | None:
    """Split text as the vocabulary needs it; returns a warning where that is not known.

    Args:
        tokenizer: The fast tokenizer as transformers read it; changed in place.
        header: The file's header.
    """
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    kind = header.metadata.get("tokenizer.ggml.pre")
    if kind in _LLAMA3_SPLITS:
        tokenizer.backend_tokenizer.model.ignore_merges = True
        if "tokenizer.ggml.add_bos_token" not in header.metadata:
            tokenizer.add_bos_token = True
    if header.metadata.get("tokenizer.ggml.model") != "gpt2" or kind in GGUF_PRE_TOKENIZER_SPLITS:
        return None
    if kind in _DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        return None
    if kind in {None, "default", "gpt-2"}:
        return None
    return f"it splits text by {kind!r}, which is not known here; tokens may differ slightly"
