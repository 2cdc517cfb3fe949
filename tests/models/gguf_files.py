"""Small GGUF files, written from a tiny Llama as llama.cpp's converter writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize
from gguf.constants import MODEL_ARCH

from tests.models.architectures import make_model
from traitvec_core.models.language_model import LanguageModel

ENDS = {"eos": "</s>", "bos": "<s>", "padding": "<pad>"}


def make_llama(**config: Any) -> LanguageModel:
    """A tiny Llama whose rows are long enough for blocks of 32 values."""
    return make_model(
        "llama", hidden_size=64, intermediate_size=96, head_dim=16, tie_word_embeddings=True,
        **config,
    )  # fmt: skip


def write_gguf(
    path: Path,
    model: LanguageModel,
    *,
    quantization: GGMLQuantizationType = GGMLQuantizationType.F32,
    architecture: str = "llama",
    has_tokenizer: bool = True,
    adds_bos: bool = False,
    pre: str = "gpt-2",
    special: dict[str, str] = ENDS,
    values: dict[str, Any] | None = None,
    more_tensors: dict[str, np.ndarray] | None = None,
    left_out: str = "",
) -> Path:
    """Write a model to a GGUF file.

    Args:
        path: The file.
        model: From `make_llama`.
        quantization: How matrices are stored.
        architecture: What the file claims to be.
        has_tokenizer: Whether it has its vocabulary.
        adds_bos: Whether a text without a chat template begins with BOS.
        pre: How text is split before it is merged.
        special: The special tokens that it names: `eos`, `eot` and so on, with their texts.
        values: More metadata, strings and numbers, with full keys.
        more_tensors: More tensors, in float32.
        left_out: Name of a tensor that is left out.
    """
    writer = GGUFWriter(path, architecture)
    config = model.model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if has_tokenizer:
        _add_tokenizer(writer, model, special)
        writer.add_add_bos_token(adds_bos)
        writer.add_tokenizer_pre(pre)
    for key, value in (values or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add(key, value)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, suffix = name.rsplit(".", 1)
        target = f"{names.get_name(stem)}.{suffix}"
        if target != left_out:
            _add_tensor(writer, target, _as_llama_cpp(target, weight, config), quantization)
    for name, array in (more_tensors or {}).items():
        writer.add_tensor(name, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, model: LanguageModel, special: dict[str, str]) -> None:
    tokenizer = model.tokenizer
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    for name, text in special.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", tokenizer.convert_tokens_to_ids(text))
    writer.add_chat_template(str(tokenizer.chat_template))


def _as_llama_cpp(name: str, weight: torch.Tensor, config: Any) -> np.ndarray:
    """llama.cpp turns pairs of neighbours, transformers the two halves of a head."""
    heads = {
        "attn_q.weight": config.num_attention_heads,
        "attn_k.weight": config.num_key_value_heads,
    }.get(name.partition("blk.")[2].partition(".")[2])
    if heads:
        rows, columns = weight.shape
        halves = weight.reshape(heads, 2, rows // heads // 2, columns)
        weight = halves.swapaxes(1, 2).reshape(rows, columns)
    return weight.detach().numpy()


def _add_tensor(
    writer: GGUFWriter, name: str, array: np.ndarray, quantization: GGMLQuantizationType
) -> None:
    if array.ndim == 1 or quantization == GGMLQuantizationType.F32:
        writer.add_tensor(name, np.ascontiguousarray(array))
    else:
        writer.add_tensor(name, quantize(array, quantization), raw_dtype=quantization)
