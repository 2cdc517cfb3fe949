"""Runs the embedded model: answers, judgements and activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.models.language_model import LanguageModel

__all__ = ["Judgement", "Speaker"]


@dataclass(frozen=True)
class Judgement:
    """The probability-weighted mean of the numbers 0 to 100, and the probability of any number."""

    score: float
    mass: float


class Speaker:
    """The model with its tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.n_layers: int = self.model.config.num_hidden_layers
        self._numbers = [
            self.tokenizer.encode(str(n), add_special_tokens=False)[0] for n in range(101)
        ]

    def prompt(self, ask: str, order: str = "", in_system: bool = True) -> str:
        """Return the text that the model sees, up to and including the assistant tag."""
        messages = [{"role": "user", "content": ask}]
        if order and in_system:
            messages.insert(0, {"role": "system", "content": order})
        elif order:
            messages[0]["content"] = f"{order}\n\n{ask}"
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(text)

    def _batch(self, texts: Sequence[str], side: str) -> Any:
        self.tokenizer.padding_side = side
        return self.tokenizer(
            list(texts), return_tensors="pt", padding=True, add_special_tokens=False
        )

    def answer(self, prompts: Sequence[str], seed: int = 0, max_tokens: int = 150) -> list[str]:
        """Sample one answer per prompt at temperature 0.7, top-p 0.9."""
        sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=max_tokens, seed=seed)
        names = [str(number) for number in range(len(prompts))]
        model = LanguageModel("embedded", self.model, self.tokenizer)
        texts = generate_texts(model, names, prompts, sampling)
        return [texts[name] for name in names]

    @torch.inference_mode()
    def judge(self, prompts: Sequence[str], batch_size: int = 64) -> list[Judgement]:
        """Score filled rubrics, from the probabilities right after the assistant tag."""
        values = torch.arange(101, dtype=torch.float32)
        results: list[Judgement] = []
        for start in range(0, len(prompts), batch_size):
            texts = [self.prompt(text) for text in prompts[start : start + batch_size]]
            batch = self._batch(texts, "right")
            hidden = self.model.model(**self._plain(batch)).last_hidden_state
            last = batch["attention_mask"].sum(1) - 1
            logits = self.model.lm_head(hidden[torch.arange(len(texts)), last])
            chances = logits.softmax(-1)[:, self._numbers]
            mass = chances.sum(1)
            scores = (chances * values).sum(1) / mass
            results += [Judgement(float(s), float(m)) for s, m in zip(scores, mass, strict=True)]
        return results

    @staticmethod
    def _plain(batch: Any) -> dict[str, torch.Tensor]:
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    @torch.inference_mode()
    def activations(
        self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 64
    ) -> torch.Tensor:
        """Return the mean residual stream over answers, `[n_examples, n_layers, hidden_dim]`."""
        rows: list[torch.Tensor] = []
        kept: list[torch.Tensor] = []

        def keep(_module: object, _inputs: object, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        hooks = [block.register_forward_hook(keep) for block in self.model.model.layers]
        try:
            for start in range(0, len(prompts), batch_size):
                heads = prompts[start : start + batch_size]
                tails = answers[start : start + batch_size]
                batch = self._batch([h + t for h, t in zip(heads, tails, strict=True)], "right")
                kept.clear()
                self.model.model(**self._plain(batch))
                mask = batch["attention_mask"].clone()
                for row, head in enumerate(heads):
                    length = len(self.tokenizer(head, add_special_tokens=False)["input_ids"])
                    mask[row, :length] = 0
                share = mask / mask.sum(1, keepdim=True).clamp(min=1)
                stacked = torch.stack(kept, dim=1)
                rows.append(torch.einsum("nlth,nt->nlh", stacked, share.float()))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(rows)

    @contextmanager
    def steered(self, layer: int, vector: torch.Tensor) -> Iterator[None]:
        """Add a vector to the residual stream after block `layer` (from 1), at every position."""

        def add(_module: object, _inputs: object, output: Any) -> Any:
            if isinstance(output, tuple):
                return (output[0] + vector, *output[1:])
            return output + vector

        hook = self.model.model.layers[layer - 1].register_forward_hook(add)
        try:
            yield
        finally:
            hook.remove()
