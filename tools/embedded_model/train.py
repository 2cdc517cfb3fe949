"""Trains the embedded model from scratch: tokenizer, chats and judged answers.

    python -m tools.embedded_model.train --output /tmp/embedded_model --minutes 40 --seed 7

All text comes from `grammar.py`. The learning rate falls to zero over the given minutes, so the
same seed gives the same data in the same order, but another number of steps on another machine. A
loadable checkpoint is written every few minutes, so an interrupted run still leaves a model.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tools.embedded_model.encoding import (
    DECISION_WEIGHT,
    NUMBER_WEIGHT,
    TOPIC_WEIGHT,
    Encoder,
    batches,
    pad_batch,
)
from tools.embedded_model.held_out import assert_held_out
from tools.embedded_model.tokenizer import train_tokenizer

__all__ = ["Shape", "build_model", "save", "train"]


@dataclass(frozen=True)
class Shape:
    """The size of the model."""

    hidden: int = 192
    layers: int = 5
    heads: int = 6
    key_value_heads: int = 6
    feed_forward: int = 512
    vocabulary: int = 2560


class _Meter:
    """A running mean of recent values."""

    def __init__(self) -> None:
        self.mean = 0.0
        self._n = 0

    def add(self, value: float) -> None:
        self._n += 1
        self.mean += max(0.03, 1 / self._n) * (value - self.mean)


def _score_error(
    logits: torch.Tensor, targets: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    """Return the distance of the expected number from the correct one, divided by 100.

    To cross-entropy alone, 96 instead of 97 is as wrong as 3.
    """
    expected = logits[:, numbers].softmax(-1) @ torch.arange(101, dtype=logits.dtype)
    right = (targets[:, None] == numbers).float().argmax(1)
    return (expected - right) / 100


def build_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained Llama of the given shape, with tied embeddings."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def _causal_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Plain causal attention; on a CPU its bfloat16 backward is 3 times as fast as the fused one.

    Batches are padded on the right, where no token attends, so a causal mask is enough.
    """
    length = query.shape[2]
    mask = torch.full((length, length), -torch.inf, dtype=query.dtype).triu(1)
    shares = (torch.matmul(query * scaling, key.transpose(-1, -2)) + mask).softmax(-1)
    return torch.matmul(shares, value).transpose(1, 2).contiguous(), None


def _worker(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return a bfloat16 copy that computes gradients; the float32 model keeps the weights."""
    worker = copy.deepcopy(model)
    worker.bfloat16()
    ALL_ATTENTION_FUNCTIONS.register("causal", _causal_attention)
    worker.config._attn_implementation = "causal"
    return worker


def _optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=0.2 * rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in float16; each file is written to a temporary name, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        # The output matrix is the embedding matrix, so it is left out and written only once.
        half = {n: t.half() for n, t in model.state_dict().items() if n != "lm_head.weight"}
        model.save_pretrained(scratch, state_dict=half)
        tokenizer.save_pretrained(scratch)
        for path in sorted(Path(scratch).iterdir()):
            path.chmod(0o644)  # safetensors writes 0600, which no other user could read
            os.replace(path, folder / path.name)


def train(
    output: Path,
    minutes: float,
    seed: int,
    shape: Shape,
    rate: float = 0.02,
    tokens: int = 2560,
    groups: int = 3,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Train a model and write it, with `training.log`, to a folder.

    Args:
        output: Folder for the model.
        minutes: How long to train; the learning rate falls to zero over this time.
        seed: Seed of the data, the weights and the tokenizer.
        shape: The size of the model.
        rate: The peak learning rate of Muon; AdamW gets a fifth of it.
        tokens: Tokens per batch.
        groups: Batches per step, one from each group of similar lengths.
        checkpoint_minutes: How often a loadable checkpoint is written.
    """
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed, shape.vocabulary)
    model = build_model(shape, tokenizer)
    size = sum(p.numel() for p in model.parameters())
    worker = _worker(model)
    pairs = list(zip(model.parameters(), worker.parameters(), strict=True))
    optimizers = _optimizers(model, rate)
    peaks = [group["lr"] for opt in optimizers for group in opt.param_groups]
    log = (output / "training.log").open("w", buffering=1)

    def note(text: str) -> None:
        print(text, flush=True)
        print(text, file=log)

    note(f"seed {seed}, {size} parameters, {shape}, torch {torch.__version__}")
    started = time.monotonic()
    saved = noted = started
    seen = 0
    pad = tokenizer.pad_token_id
    steps = batches(Encoder(tokenizer, seed), seed + 1, tokens, groups)
    numbers = torch.tensor([tokenizer.convert_tokens_to_ids(str(n)) for n in range(101)])
    meters = {name: _Meter() for name in ("loss", "decision", "topic", "judge")}
    for step, parts in enumerate(steps):
        done = (time.monotonic() - started) / (60 * minutes)
        if done >= 1:
            break
        factor = min(1.0, (step + 1) / 60) * min(1.0, 1.25 * (1 - done))
        for peak, group in zip(
            peaks, (g for opt in optimizers for g in opt.param_groups), strict=True
        ):
            group["lr"] = peak * factor
        tensors = [pad_batch(part, pad) for part in parts]
        total_weight = sum(float(weights.sum()) for _, weights in tensors)
        step_loss = 0.0
        for ids, weights in tensors:
            hidden = worker.model(input_ids=ids[:, :-1]).last_hidden_state
            chosen = weights[:, 1:] > 0
            targets, picked = ids[:, 1:][chosen], weights[:, 1:][chosen]
            logits = worker.lm_head(hidden[chosen]).float()
            losses = functional.cross_entropy(logits, targets, reduction="none")
            total = (losses * picked).sum()
            judged = picked == NUMBER_WEIGHT
            if judged.any():
                miss = _score_error(logits[judged], targets[judged], numbers)
                total = total + NUMBER_WEIGHT * 8 * miss.square().sum()
                meters["judge"].add(miss.detach().abs().mean().item() * 100)
            (total / total_weight).backward()
            for learned, computed in pairs:
                if computed.grad is not None:
                    gradient = computed.grad.float()
                    learned.grad = gradient if learned.grad is None else learned.grad + gradient
                computed.grad = None
            step_loss += total.item() / total_weight
            for name, weight in (("decision", DECISION_WEIGHT), ("topic", TOPIC_WEIGHT)):
                if (picked == weight).any():
                    meters[name].add(losses[picked == weight].detach().mean().item())
            seen += ids.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for learned, computed in pairs:
                computed.copy_(learned)
        meters["loss"].add(step_loss)
        now = time.monotonic()
        if now - noted > 30:
            noted = now
            note(
                f"{now - started:6.0f} s  step {step:5d}  {seen / 1e6:6.2f}M tokens  "
                + "  ".join(f"{name} {meter.mean:.3f}" for name, meter in meters.items())
                + f"  rate {factor:.3f}"
            )
        if now - saved > 60 * checkpoint_minutes:
            saved = now
            save(model, tokenizer, output)
        if not math.isfinite(step_loss):
            raise SystemExit("the loss is not finite; try a smaller --rate")
    save(model, tokenizer, output)
    note(f"done: {step} steps, {seen} tokens, {time.monotonic() - started:.0f} s")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the model")
    parser.add_argument("--minutes", type=float, default=40.0, help="training time (default 40)")
    parser.add_argument("--seed", type=int, default=7, help="seed of data and weights (default 7)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--hidden", type=int, default=Shape.hidden, help="width of the model")
    parser.add_argument("--layers", type=int, default=Shape.layers, help="decoder blocks")
    parser.add_argument("--rate", type=float, default=0.02, help="peak learning rate of Muon")
    parser.add_argument(
        "--demo",
        type=Path,
        default=Path("experiments/demo"),
        help="trait definitions that must not be trained on (default experiments/demo)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = Shape(
        hidden=options.hidden,
        layers=options.layers,
        heads=options.hidden // 32,
        key_value_heads=options.hidden // 32,
        feed_forward=64 * round(options.hidden * 8 / 3 / 64),
    )
    checked = assert_held_out(options.demo)
    print(f"{checked} demo instructions and questions are unseen", flush=True)
    train(options.output, options.minutes, options.seed, shape, options.rate)


if __name__ == "__main__":
    main()
