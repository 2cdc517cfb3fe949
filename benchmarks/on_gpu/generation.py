"""Generation on a GPU, against transformers' `generate` with few rows and with as many as ours."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.on_gpu.device import Device
from benchmarks.on_gpu.random_model import writes_texts
from benchmarks.on_gpu.roofline import count_passes
from benchmarks.on_gpu.trait import DEFINITION, MEAN_TOKENS
from benchmarks.record import Figure, figure, ratio
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts, plan_responses
from traitvec_core.generation.request import Generated
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.trait import parse_definition

__all__ = ["generation"]


def generation(device: Device, size: str, model: LanguageModel) -> Iterator[Figure]:
    """Yield the figures of generating 200 responses.

    Times are per generated token: lengths are drawn anew on each side, from one distribution.
    """
    prompts = _prompts(model, 8 if device.is_toy else 200)
    sampling = Sampling(max_new_tokens=8 if device.is_toy else 150)

    def ours() -> int:
        return _ours(model, prompts, sampling)

    def measure(work: Callable[[], int]) -> tuple[float, int]:
        made: list[int] = []
        seconds = device.time(lambda: made.append(work()))
        return seconds, made[0]

    def per_token(work: Callable[[], int], rounds: int) -> list[float]:
        runs = [measure(work) for _ in range(rounds)]
        return [seconds / n_tokens for seconds, n_tokens in runs]

    rounds = 1 if device.is_toy else 3
    with writes_texts(model, MEAN_TOKENS):
        # The first run warms up kernels.
        measure(ours)
        with count_passes(device, model) as passes:
            seconds, n_tokens = measure(ours)
        yield figure(f"{size}: generation", n_tokens / seconds, "tokens/s")
        yield figure(f"{size}: generation, mean length", n_tokens / len(prompts), "tokens")
        yield figure(f"{size}: generation, decoding steps", passes.n_steps, "steps")
        yield figure(f"{size}: generation, rows per decoding step",
                     passes.n_rows / max(passes.n_steps, 1), "rows")  # fmt: skip
        yield figure(f"{size}: generation, least time of decoding by memory / time",
                     passes.decoding_s / seconds, "ratio")  # fmt: skip
        yield figure(f"{size}: generation, least time of prefill by products / time",
                     passes.prefill_s / seconds, "ratio")  # fmt: skip
        fast = per_token(ours, rounds)
        # With few rows it takes minutes, and varies little.
        for n_rows, n_rounds in ((len(prompts), rounds), (len(prompts) // 25 or 4, 1)):
            slow = per_token(lambda n=n_rows: _simple(model, prompts, sampling, n), n_rounds)
            yield ratio(
                f"{size}: generate, {n_rows} at a time as given / ours, time per token",
                slow, fast[:n_rounds],
            )  # fmt: skip
        if device.is_gpu:
            peak = device.peak_bytes(ours)
            yield figure(f"{size}: peak memory of generation", peak / 2**30, "GiB")


def _prompts(model: LanguageModel, count: int) -> list[str]:
    definition = parse_definition(DEFINITION.read_bytes(), DEFINITION.name)
    planned = plan_responses("refusal", definition, count // 2)
    return [model.prompt(item.question, item.instruction) for item in planned]


def _ours(model: LanguageModel, prompts: list[str], sampling: Sampling) -> int:
    """Generate with our engine; returns the tokens, ends included."""
    lengths: list[int] = []

    def count(texts: list[Generated]) -> None:
        lengths.extend(text.response_tokens + (text.finish_reason == "stop") for text in texts)

    names = [str(i) for i in range(len(prompts))]
    generate_texts(model, names, prompts, sampling, on_finished=count)
    return sum(lengths)


def _simple(model: LanguageModel, prompts: list[str], sampling: Sampling, n_rows: int) -> int:
    """Generate with transformers' `generate`; returns the tokens up to each response's end."""
    end, pad = model.end_token_ids[0], model.pad_token_id
    total = 0
    for start in range(0, len(prompts), n_rows):
        ids = [model.encode_prompt(prompt) for prompt in prompts[start : start + n_rows]]
        width = max(len(row) for row in ids)
        padded = [[pad] * (width - len(row)) + row for row in ids]
        attention = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
        with torch.inference_mode():
            generator: Any = model.model
            output = generator.generate(
                torch.tensor(padded, device=model.device),
                attention_mask=torch.tensor(attention, device=model.device),
                do_sample=True, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0,
                max_new_tokens=sampling.max_new_tokens, pad_token_id=pad, eos_token_id=end,
            )  # fmt: skip
        for row in output[:, width:].tolist():
            total += row.index(end) + 1 if end in row else len(row)
    return total
