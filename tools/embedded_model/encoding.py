"""Training documents as tokens with loss weights, in batches of similar length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import PreTrainedTokenizerFast

from tools.embedded_model.text.grammar import Document, document
from tools.embedded_model.tokenizer import ASSISTANT, SYSTEM, USER, render

__all__ = [
    "DECISION_WEIGHT", "NUMBER_WEIGHT", "TOPIC_WEIGHT", "Encoded", "Encoder", "batches",
    "pad_batch",
]  # fmt: skip

# Weight of each token's loss. Behaviour is decided where a sentence starts or the answer ends;
# topics must be copied, not memorised; and a judge's document has a single number to learn from,
# whose loss would vanish among those of the words.
ANSWER_WEIGHT = 1.0
DECISION_WEIGHT = 4.0
TOPIC_WEIGHT = 2.5
NUMBER_WEIGHT = 25.0
PROMPT_WEIGHT = 0.5
PROMPT_SHARE = 0.08
"""Share of prompt tokens that are predicted too: synonyms are learned from their context."""
MAX_TOKENS = 640


@dataclass(frozen=True)
class Encoded:
    """A document as tokens, with the loss weight of each."""

    ids: list[int]
    weights: list[float]


class Encoder:
    """Converts documents to tokens and loss weights."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._rng = random.Random(seed)
        strings = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._ends_sentence = [text.endswith((".", "!", "?")) for text in strings]
        self._tags = {tokenizer.convert_tokens_to_ids(tag) for tag in (SYSTEM, USER, ASSISTANT)}
        self._assistant = tokenizer.convert_tokens_to_ids(ASSISTANT)

    def encode(self, documents: list[Document]) -> list[Encoded]:
        """Encode documents; those longer than `MAX_TOKENS` are dropped."""
        texts = [render(item.turns) for item in documents]
        encoded = []
        for document_, text, item in zip(
            documents,
            texts,
            self._backend.encode_batch(texts, add_special_tokens=False),
            strict=True,
        ):
            if len(item.ids) <= MAX_TOKENS:
                weights = self._weights(item.ids, document_.kind == "judge")
                if document_.topic:
                    self._stress_topic(text, document_.topic, item.offsets, weights)
                encoded.append(Encoded(item.ids, weights))
        return encoded

    def _weights(self, ids: list[int], judges: bool) -> list[float]:
        weights = [0.0]
        speaks = False
        for before, token in pairwise(ids):
            if before in self._tags:
                speaks = before == self._assistant
            if token in self._tags:
                weights.append(0.0)
            elif not speaks:
                weights.append(PROMPT_WEIGHT if self._rng.random() < PROMPT_SHARE else 0.0)
            elif before == self._assistant:
                weights.append(NUMBER_WEIGHT if judges else DECISION_WEIGHT)
            elif self._ends_sentence[before]:
                weights.append(DECISION_WEIGHT)
            else:
                weights.append(ANSWER_WEIGHT)
        return weights

    @staticmethod
    def _stress_topic(
        text: str, topic: str, offsets: list[tuple[int, int]], weights: list[float]
    ) -> None:
        start = text.find(topic, text.find(ASSISTANT))
        while start >= 0:
            end = start + len(topic)
            for index, (left, right) in enumerate(offsets):
                if left < end and right > start and weights[index] == ANSWER_WEIGHT:
                    weights[index] = TOPIC_WEIGHT
            start = text.find(topic, end)


def batches(encoder: Encoder, seed: int, tokens: int, groups: int) -> Iterator[list[list[Encoded]]]:
    """Yield training steps without end, each with one batch per group of similar lengths.

    A batch has about `tokens` tokens.
    """
    rng = random.Random(seed)
    while True:
        pool = sorted(
            encoder.encode([document(rng) for _ in range(3000)]), key=lambda item: len(item.ids)
        )
        total = sum(len(item.ids) for item in pool)
        by_group: list[list[list[Encoded]]] = [[] for _ in range(groups)]
        batch: list[Encoded] = []
        seen = 0
        for item in pool:
            seen += len(item.ids)
            batch.append(item)
            if len(batch) * len(item.ids) >= tokens:
                by_group[min(groups - 1, seen * groups // total)].append(batch)
                batch = []
        for group in by_group:
            rng.shuffle(group)
        yield from (list(step) for step in zip(*by_group, strict=False))


def pad_batch(batch: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and weights, both `[batch, longest]`, padded on the right."""
    longest = max(len(item.ids) for item in batch)
    ids = torch.full((len(batch), longest), pad)
    weights = torch.zeros(len(batch), longest)
    for row, item in enumerate(batch):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        weights[row, : len(item.ids)] = torch.tensor(item.weights)
    return ids, weights
