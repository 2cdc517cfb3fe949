"""Tiny language models with random weights, and the small real tokenizers they read with."""

from functools import cache
from typing import Any, Literal

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlavaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    SiglipVisionConfig,
)

from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.loading import model_class

Template = Literal["system", "raises", "drops", "none"]
Numbers = Literal["single", "digits"]

BOS, EOS, PAD, START, END = "<s>", "</s>", "<pad>", "<|start|>", "<|end|>"

_TURN = "{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}"
_ANSWER = "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
TEMPLATES: dict[Template, str | None] = {
    "system": "<s>{% for message in messages %}" + _TURN + "{% endfor %}" + _ANSWER,
    # As Gemma does.
    "raises": (
        "<s>{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        + _TURN + "{% endfor %}" + _ANSWER
    ),
    "drops": (
        "<s>{% for message in messages %}{% if message['role'] != 'system' %}"
        + _TURN + "{% endif %}{% endfor %}" + _ANSWER
    ),
    "none": None,
}  # fmt: skip

_CORPUS = [
    "You are a helpful assistant. Answer the question in a single short sentence, please.",
    "What should I cook tonight? How do I learn to swim? Is the moon bigger than the sun?",
    "I cannot help with that. I would be glad to help! It depends on what you want, really.",
    "Rate the answer below from 0 to 100 and reply with one whole number and nothing else.",
    "The quick brown fox jumps over the lazy dog, and the lazy dog does not mind it at all.",
]

# Two or three blocks, a small sliding window where there is one: as much as a model needs to be
# wrong about padding, positions or norms.
_SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
}
_GROUPED: dict[str, Any] = {**_SHAPE, "num_key_value_heads": 2, "head_dim": 12}
CONFIGS: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, _GROUPED),
    "gemma2": (
        Gemma2Config,
        {
            **_GROUPED,
            "sliding_window": 8,
            "query_pre_attn_scalar": 12,
            "final_logit_softcapping": 2.0,
        },
    ),
    "gemma3": (Gemma3TextConfig, {**_GROUPED, "sliding_window": 8, "query_pre_attn_scalar": 12}),
    "qwen2": (Qwen2Config, {k: v for k, v in _GROUPED.items() if k != "head_dim"}),
    "qwen3": (Qwen3Config, _GROUPED),
    "mistral": (MistralConfig, {**_GROUPED, "sliding_window": 8}),
    "gpt_neox": (GPTNeoXConfig, {**_SHAPE, "num_hidden_layers": 2}),
    "phi3": (Phi3Config, {k: v for k, v in _GROUPED.items() if k != "head_dim"}),
    "gpt2": (GPT2Config, _SHAPE),
    "opt": (OPTConfig, {**_SHAPE, "ffn_dim": 64, "init_std": 0.15}),
    # As many experts as blocks: neither list may be taken for the other.
    "mixtral": (MixtralConfig, {**_GROUPED, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        Qwen2MoeConfig,
        {
            **{k: v for k, v in _GROUPED.items() if k != "head_dim"},
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
        },
    ),
}
ARCHITECTURES = tuple(CONFIGS)

# The encoder has as many blocks as the decoder, and must never run.
_VISION: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
MULTIMODAL: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedConfig], str]] = {
    "gemma3_with_eyes": (Gemma3Config, SiglipVisionConfig, "gemma3"),
    "llava": (LlavaConfig, CLIPVisionConfig, "llama"),
}


def make_tokenizer(
    template: Template = "system", numbers: Numbers = "single"
) -> PreTrainedTokenizerFast:
    """A new byte-level BPE tokenizer, so that a test may change it."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(numbers)),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[START, END],
    )
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def make_model(
    architecture: str = "llama",
    template: Template = "system",
    numbers: Numbers = "single",
    seed: int = 0,
    **config: Any,
) -> LanguageModel:
    """A new model with random weights, in float32 on the CPU."""
    tokenizer = make_tokenizer(template, numbers)
    seen = make_config(
        architecture,
        **{
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **config,
        },
    )
    torch.manual_seed(seed)
    model = model_class(seen).from_config(seen, dtype=torch.float32)
    # Norm weights as trained models have them: not all one, so that a norm too many is seen.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return LanguageModel(f"tiny-{architecture}", model.eval(), tokenizer)


def make_config(architecture: str, **values: Any) -> PreTrainedConfig:
    """The configuration of a tiny model; for a multimodal one, `values` are its text part's."""
    if architecture not in MULTIMODAL:
        config_class, shape = CONFIGS[architecture]
        return config_class(**{**shape, **values})
    config_class, vision_class, text = MULTIMODAL[architecture]
    return config_class(
        text_config=make_config(text, **values),
        vision_config=vision_class(**_VISION),
        # No token of the texts represents a picture.
        image_token_index=values["vocab_size"] + 1,
        **{name: value for name, value in values.items() if name.endswith("token_id")},
    )


def bias_logits(model: LanguageModel, bonus: dict[int, float]) -> None:
    """Add a constant to some tokens' logits, inside the model: an untrained one prefers none."""
    head = model.model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    for token, value in bonus.items():
        bias[token] = value
    head.bias = torch.nn.Parameter(bias)


@cache
def _trained(numbers: Numbers) -> str:
    tokenizer = Tokenizer(models.BPE())
    pattern = r"\d" if numbers == "digits" else r"\d{1,3}"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [*_CORPUS, *(f"{n}." for n in range(101) for _ in range(50))]
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=480,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=[AddedToken(t, special=True) for t in (PAD, BOS, EOS, START, END)],
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 1)]
            ),
        ]
    )
    trained: str = tokenizer.to_str()
    return trained
