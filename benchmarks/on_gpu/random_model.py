"""Models with random weights in the shapes of real ones, which write texts of realistic lengths."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Gemma2Config, LlamaConfig, PreTrainedConfig

from benchmarks.on_gpu.device import Device
from traitvec_core.models.language_model import LanguageModel, load_language_model

__all__ = ["SIZES", "TOY", "random_model", "save_for_vllm", "writes_texts"]

# The shapes of Gemma 2 2B and of Llama 3.1 8B.
SIZES: dict[str, Callable[[], PreTrainedConfig]] = {
    "2B": lambda: Gemma2Config(
        vocab_size=256_000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26,
        num_attention_heads=8, num_key_value_heads=4, head_dim=256, query_pre_attn_scalar=256,
        sliding_window=4096, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    ),
    "8B": lambda: LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192,
    ),
}  # fmt: skip
# Soft-capping, sliding windows and grouped heads, in two blocks that a CPU runs in no time. On a
# CPU, vLLM has no attention for narrower heads.
TOY: dict[str, Callable[[], PreTrainedConfig]] = {
    "toy": lambda: Gemma2Config(
        vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, sliding_window=4096,
        max_position_embeddings=4096,
    )
}  # fmt: skip
# Random weights give every token about the same logit; real models are rarely that undecided. With
# this factor the likeliest few tokens have most of the probability, as in text.
_SHARPNESS = 5.0
# Far outside the logits; soft-capping limits it to 30, which is enough.
_CERTAIN = 1e4


def random_model(device: Device, size: str) -> LanguageModel:
    """Create a model in a size's shape; its tokenizer is that of the model that ships."""
    config = {**SIZES, **TOY}[size]()
    tokenizer = load_language_model("embedded", device="cpu", has_weights=False).tokenizer
    for token in ("bos", "eos", "pad"):
        setattr(config, f"{token}_token_id", getattr(tokenizer, f"{token}_token_id"))
    torch.manual_seed(0)
    with device.device:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=device.dtype)
    return LanguageModel(f"random-{size}", model.to(device.device).eval(), tokenizer)


def save_for_vllm(model: LanguageModel, folder: Path) -> None:
    """Save a model in Gemma 2's shape so that vLLM can generate with it, and read its tokens.

    Logits are scaled by the final norm, because hooks stay behind. The tokenizer gets a name for
    every token of the vocabulary: vLLM refuses tokens that it cannot spell.
    """
    state = model.model.state_dict()
    name = "model.norm.weight"
    # Gemma multiplies by 1 + weight.
    state[name] = _SHARPNESS * (1 + state[name]) - 1
    model.model.save_pretrained(folder, state_dict=state)
    model.tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    names = len(vocabulary)
    vocabulary |= {f"<{k}>": k for k in range(names, model.model.config.vocab_size)}
    path.write_text(json.dumps(tokenizer))


@contextmanager
def writes_texts(model: LanguageModel, mean_tokens: float) -> Iterator[None]:
    """Let random weights write texts that the tokenizer knows, and end them.

    Random weights never end a text. Inside this, each token is the last with the probability
    1 / `mean_tokens`, so lengths are geometric up to the limit, for every way of generating alike.
    Tokens that the tokenizer lacks are never chosen. All other work stays: the head computes the
    logits of its whole vocabulary.
    """
    n_tokens = len(model.tokenizer)
    end = model.end_token_ids[0]
    special = torch.tensor(model.tokenizer.all_special_ids, device=model.device)
    random = torch.Generator(device=model.device).manual_seed(0)

    def hook(_head: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        is_last = torch.rand(logits.shape[:-1], device=logits.device, generator=random)
        logits = logits * _SHARPNESS
        logits[..., n_tokens:] = -_CERTAIN
        logits[..., special] = -_CERTAIN
        logits[..., end] = torch.where(is_last < 1 / mean_tokens, _CERTAIN, -_CERTAIN)
        return logits

    handle = model.model.get_output_embeddings().register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
