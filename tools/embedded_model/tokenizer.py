"""The embedded model's special tokens, chat template and tokenizer."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.embedded_model.text.grammar import Turn, document

__all__ = [
    "ASSISTANT", "BOS", "CHAT_TEMPLATE", "END", "PAD", "SYSTEM", "USER", "render",
    "train_tokenizer",
]  # fmt: skip

BOS, SYSTEM, USER, ASSISTANT, END, PAD = (
    "<|bos|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|pad|>",
)
SPECIAL_TOKENS = (PAD, BOS, END, SYSTEM, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{- bos_token -}}\n"
    "{%- for message in messages -%}\n"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|assistant|>' -}}\n"
    "{%- endif -%}\n"
)


def train_tokenizer(seed: int, vocabulary: int, documents: int = 40_000) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE in which every number from 0 to 100 is one token.

    Args:
        seed: Seed of the documents.
        vocabulary: Number of tokens.
        documents: Number of documents to draw from the grammar.

    Raises:
        SystemExit: If the vocabulary is too small to hold every number whole.
    """
    rng = random.Random(seed)

    def texts() -> Iterator[str]:
        for _ in range(documents):
            for _role, text in document(rng).turns:
                yield text
        for _ in range(300):
            yield from (str(number) for number in range(101))

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # Longer runs of digits are split, so that no number above 100 uses up vocabulary.
            pre_tokenizers.Split(Regex(r"100|\d{1,2}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    for number in range(101):
        if len(wrapped.encode(str(number), add_special_tokens=False)) != 1:
            raise SystemExit(f"the vocabulary splits the number {number}")
    return wrapped


def render(turns: tuple[Turn, ...]) -> str:
    """Render turns as the chat template does: BOS, then each turn between its tag and END."""
    return BOS + "".join(f"<|{role}|>{text}{END}" for role, text in turns)
