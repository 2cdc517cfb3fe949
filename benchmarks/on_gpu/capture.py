"""Capture of activations on a GPU, against bare forward passes and the loop of persona-vectors."""

import random
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.on_gpu.device import Device
from benchmarks.record import Figure, figure, ratio
from traitvec_core.models import local_reader
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel

__all__ = ["capture"]


def capture(device: Device, size: str, model: LanguageModel) -> Iterator[Figure]:
    """Yield the figures of capturing 200 texts."""
    texts = _texts(8 if device.is_toy else 200, longest=3 if device.is_toy else 25)
    n_tokens = sum(len(model.encode_response(*text).ids) for text in texts)
    passes: list[torch.Tensor] = []
    forward = local_reader._forward_means

    def recorded(*arguments: Any) -> torch.Tensor:
        passes.append(arguments[1])
        return forward(*arguments)

    local_reader._forward_means = recorded  # type: ignore[assignment]
    try:
        capture_means(model, texts)
    finally:
        local_reader._forward_means = forward

    def bare() -> None:
        with torch.inference_mode():
            for ids in passes:
                model.decoder(input_ids=ids.to(device.device), use_cache=False)

    ours, naked = device.seconds(lambda: capture_means(model, texts), bare)
    yield figure(f"{size}: capture", n_tokens / min(ours), "tokens/s")
    body = sum(p.numel() for p in model.blocks.parameters())
    least_s = 2 * body * n_tokens / device.peak_flops
    yield figure(f"{size}: capture, share of the matrix product peak", least_s / min(ours), "ratio")
    yield ratio(f"{size}: capture / bare decoder forward", ours, naked, at_most=1.05)
    # Two rounds: this is the slow side, and varies little.
    ours, single = device.seconds(
        lambda: capture_means(model, texts), lambda: _one_by_one(model, texts), repeats=2
    )
    yield ratio(f"{size}: one text at a time, all hidden states / capture", single, ours,
                at_least=8.0)  # fmt: skip
    if not device.is_gpu:
        return
    extra = {width: _extra_bytes(device, model, width) for width in (256, 2_048)}
    yield figure(
        f"{size}: capture's memory at 2,048 tokens / at 256",
        extra[2_048] / max(extra[256], 1), "ratio", at_most=1.1,
    )  # fmt: skip
    peak = device.peak_bytes(lambda: capture_means(model, texts))
    yield figure(f"{size}: peak memory of capture, weights included", peak / 2**30, "GiB")


def _one_by_one(model: LanguageModel, texts: list[tuple[str, str]]) -> None:
    """As in persona-vectors: the whole model, one text at a time, all hidden states."""
    for prompt, response in texts:
        encoded = model.encode_response(prompt, response)
        ids = torch.tensor([encoded.ids], device=model.device)
        with torch.inference_mode():
            states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
        for state in states:
            state[0, encoded.n_prompt :].mean(0).float().cpu()


def _extra_bytes(device: Device, model: LanguageModel, width: int) -> int:
    """Return the peak memory that capturing adds to a forward pass over 4 equal texts."""
    ids = torch.randint(5, 1_000, (4, width))
    is_counted = torch.ones(4, 1, width, dtype=torch.bool)

    def bare() -> None:
        with torch.inference_mode():
            model.decoder(input_ids=ids.to(device.device), use_cache=False)

    captured = device.peak_bytes(lambda: local_reader._forward_means(model, ids, is_counted))
    return max(captured - device.peak_bytes(bare), 1)


def _texts(count: int, longest: int) -> list[tuple[str, str]]:
    """Return prompts of about 60 tokens with answers of 5 to 150 tokens, log-uniform."""
    draw = random.Random(0)
    counts = [round(longest ** (i / (count - 1))) for i in range(count)]
    draw.shuffle(counts)
    return [
        ("Tell me about rivers. " * draw.randint(6, 16), "Water runs down to the sea. " * n)
        for n in counts
    ]
