"""Measure capture and generation at 2B and 8B sizes with random weights on a GPU.

`make bench-gpu` prints a table and writes `benchmarks/results_<name of the GPU>.json`. It needs
torch and transformers; generation is left out where pydantic is missing. `--tiny` runs the same
code with a toy model on any device, to check that it works; its figures are meaningless.
"""

import argparse
import json
import math
import platform
import random
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GemmaConfig, LlamaConfig, PreTrainedConfig

PROJECT = Path(__file__).parent.parent
# Lets `python benchmarks/gpu.py` run in a checkout that is not installed.
sys.path.insert(0, str(PROJECT))

from traitvec_core.models import activations  # noqa: E402
from traitvec_core.models.activations import capture_means  # noqa: E402
from traitvec_core.models.language_model import LanguageModel, load_language_model  # noqa: E402

# The shapes of Gemma 2B and of Llama 3.1 8B.
SIZES: dict[str, Callable[[], PreTrainedConfig]] = {
    "2B": lambda: GemmaConfig(
        vocab_size=256_000, hidden_size=2048, intermediate_size=16_384, num_hidden_layers=18,
        num_attention_heads=8, num_key_value_heads=1, head_dim=256,
    ),
    "8B": lambda: LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192,
    ),
}  # fmt: skip
TINY: dict[str, Callable[[], PreTrainedConfig]] = {
    "tiny": lambda: LlamaConfig(
        vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096,
    )
}  # fmt: skip
Figure = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the results; return 1 if there is no GPU."""
    parser = argparse.ArgumentParser(description="Measure capture and generation on a GPU.")
    parser.add_argument(
        "--tiny", action="store_true", help="use a toy model, which also runs on a CPU"
    )
    parser.add_argument("--sizes", nargs="+", choices=[*SIZES], default=[*SIZES])
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks")
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available() and not chosen.tiny:
        sys.stderr.write("bench-gpu needs a GPU, and torch sees none\n")
        return 1
    bench = Bench(is_tiny=chosen.tiny)
    figures = [bench.figure("matrix product peak", bench.peak_tflops, "TFLOP/s")]
    for size in [*TINY] if chosen.tiny else chosen.sizes:
        figures += bench.measure(size)
    for figure in figures:
        sign = "≥" if figure.get("at_least") else "≤"
        bar = f"  bar {sign} {figure['bar']}" if "bar" in figure else ""
        value = f"{figure['value']:>12,.3f} {figure['unit']}"
        sys.stdout.write(f"{figure['figure']:<64}{value}{bar}\n")
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": bench.device_name,
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "figures": figures,
    }
    slug = re.sub(r"[^a-z0-9]+", "_", bench.device_name.lower()).strip("_")
    target = chosen.out / f"results_{slug}.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"written to {target}\n")
    return 0


class Bench:
    """The measurements on one device."""

    def __init__(self, *, is_tiny: bool) -> None:
        self.is_tiny = is_tiny
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.is_gpu = self.device.type == "cuda"
        self.device_name = torch.cuda.get_device_name() if self.is_gpu else "cpu"
        self.dtype = torch.bfloat16 if self.is_gpu else torch.float32
        self.n_texts = 8 if is_tiny else 200
        self.peak_tflops = self._peak_tflops()

    @staticmethod
    def figure(
        name: str, value: float, unit: str, bar: float | None = None, is_least: bool = False
    ) -> Figure:
        """Return a figure in the format of `bench.py`; one without a bar is only reported."""
        result: Figure = {"figure": name, "value": round(value, 4), "unit": unit}
        if bar is not None:
            result["bar"] = bar
        return result | ({"at_least": True} if is_least else {})

    def measure(self, size: str) -> list[Figure]:
        """Return all figures of one model size."""
        model = self._model(size)
        try:
            return [*self._capture(size, model), *self._generation(size, model)]
        finally:
            del model
            if self.is_gpu:
                torch.cuda.empty_cache()

    # -- capture ------------------------------------------------------------------------------

    def _capture(self, size: str, model: LanguageModel) -> list[Figure]:
        texts = self._texts()
        n_tokens = sum(len(model.encode_response(*text).ids) for text in texts)
        passes: list[torch.Tensor] = []
        forward = activations._forward_means

        def recorded(*arguments: Any) -> torch.Tensor:
            passes.append(arguments[1])
            return forward(*arguments)

        activations._forward_means = recorded  # type: ignore[assignment]
        try:
            capture_means(model, texts)
        finally:
            activations._forward_means = forward

        def bare() -> None:
            with torch.inference_mode():
                for ids in passes:
                    model.decoder(input_ids=ids.to(self.device), use_cache=False)

        def one_by_one() -> None:
            for prompt, response in texts:
                encoded = model.encode_response(prompt, response)
                ids = torch.tensor([encoded.ids], device=self.device)
                with torch.inference_mode():
                    states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
                for state in states:
                    state[0, encoded.n_prompt :].mean(0).float().cpu()

        ours, naked, single = self._alternate(lambda: capture_means(model, texts), bare, one_by_one)
        body = sum(p.numel() for p in model.blocks.parameters())
        share = 2 * body * n_tokens / ours / 1e12 / self.peak_tflops
        memory = {width: self._extra_bytes(model, width) for width in (256, 2_048)}
        return [
            self.figure(f"{size}: capture", n_tokens / ours, "tokens/s"),
            self.figure(f"{size}: capture, share of the peak", share, "ratio"),
            self.figure(f"{size}: capture / bare decoder forward", ours / naked, "ratio", 1.05),
            self.figure(
                f"{size}: one text at a time, all hidden states / capture",
                single / ours, "ratio", 8.0, is_least=True,
            ),
            self.figure(
                f"{size}: capture's memory at 2,048 tokens / at 256",
                memory[2_048] / max(memory[256], 1), "ratio", 1.1,
            ),
            self.figure(
                f"{size}: peak memory of capture, weights included",
                self._peak_bytes(lambda: capture_means(model, texts)) / 2**30, "GiB",
            ),
        ]  # fmt: skip

    def _extra_bytes(self, model: LanguageModel, width: int) -> int:
        """Return the peak memory that capturing adds to a forward pass over 4 equal texts."""
        ids = torch.randint(5, 1_000, (4, width))
        is_counted = torch.ones(4, 1, width, dtype=torch.bool)

        def bare() -> None:
            with torch.inference_mode():
                model.decoder(input_ids=ids.to(self.device), use_cache=False)

        with_capture = self._peak_bytes(lambda: activations._forward_means(model, ids, is_counted))
        return max(with_capture - self._peak_bytes(bare), 1)

    # -- generation ---------------------------------------------------------------------------

    def _generation(self, size: str, model: LanguageModel) -> list[Figure]:
        try:
            from traitvec_core.experiment import Sampling
            from traitvec_core.generation import generate_texts
        except ModuleNotFoundError as error:
            sys.stderr.write(f"{size}: generation left out: {error}\n")
            return []
        prompts = [prompt for prompt, _ in self._texts()]
        names = [f"row{i}" for i in range(len(prompts))]
        sampling = Sampling(max_new_tokens=4 if self.is_tiny else 150)
        made: list[int] = []

        def ours() -> None:
            texts = generate_texts(model, names, prompts, sampling)
            made[:] = [len(model.encode_prompt(text)) for text in texts.values()]

        def naive() -> None:
            for start in range(0, len(prompts), 8):
                ids = [model.encode_prompt(prompt) for prompt in prompts[start : start + 8]]
                width = max(len(row) for row in ids)
                padded = [[0] * (width - len(row)) + row for row in ids]
                attention = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
                with torch.inference_mode():
                    model.model.generate(
                        torch.tensor(padded, device=self.device),
                        attention_mask=torch.tensor(attention, device=self.device),
                        do_sample=True, temperature=0.7, top_p=0.9, top_k=0,
                        max_new_tokens=sampling.max_new_tokens, pad_token_id=0, eos_token_id=None,
                    )  # fmt: skip

        ends = model.model.generation_config.eos_token_id
        # Random weights do not end a text sensibly, so all rows on both sides run to the limit.
        model.model.generation_config.eos_token_id = []
        try:
            fast, slow = self._alternate(ours, naive, repeats=1)
            peak = self._peak_bytes(ours)
        finally:
            model.model.generation_config.eos_token_id = ends
        n_tokens = len(prompts) * sampling.max_new_tokens
        parameters = sum(p.numel() for p in model.blocks.parameters())
        head = model.model.get_output_embeddings().weight.numel()
        flops = 2 * (parameters + head) * n_tokens / fast
        return [
            self.figure(f"{size}: generation", n_tokens / fast, "tokens/s"),
            self.figure(
                f"{size}: generation, share of the peak", flops / 1e12 / self.peak_tflops, "ratio"
            ),
            self.figure(
                f"{size}: generate in given order, batch 8 / generation", slow / fast, "ratio"
            ),
            self.figure(f"{size}: peak memory of generation", peak / 2**30, "GiB"),
        ]

    # -- model, texts and timing --------------------------------------------------------------

    def _model(self, size: str) -> LanguageModel:
        config = (TINY if self.is_tiny else SIZES)[size]()
        torch.manual_seed(0)
        with self.device:
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=self.dtype)
        # Any tokenizer will do: the weights are random.
        tokenizer = load_language_model("embedded", device="cpu").tokenizer
        return LanguageModel(f"random-{size}", model.to(self.device).eval(), tokenizer)

    def _texts(self) -> list[tuple[str, str]]:
        """Return prompts of about 60 tokens with answers of 5 to 150 tokens, log-uniform."""
        draw = random.Random(0)
        longest = 3 if self.is_tiny else 25
        counts = [round(longest ** (i / (self.n_texts - 1))) for i in range(self.n_texts)]
        draw.shuffle(counts)
        return [
            ("Tell me about rivers. " * draw.randint(6, 16), "Water runs down to the sea. " * n)
            for n in counts
        ]

    def _peak_tflops(self) -> float:
        """Return the speed of a large matrix product, the device's practical limit."""
        n = 8_192 if self.is_gpu else 256
        left, right = (torch.randn(n, n, device=self.device, dtype=self.dtype) for _ in range(2))
        (best,) = self._alternate(lambda: left @ right, repeats=20)
        return 2 * n**3 / best / 1e12

    def _alternate(self, *sides: Callable[[], object], repeats: int = 3) -> list[float]:
        best = [math.inf] * len(sides)
        # The first round warms up kernels and the allocator.
        for round_number in range(repeats + (0 if self.is_tiny else 1)):
            for side, work in enumerate(sides):
                self._wait()
                started = time.perf_counter()
                work()
                self._wait()
                if round_number or self.is_tiny:
                    best[side] = min(best[side], time.perf_counter() - started)
        return best

    def _peak_bytes(self, work: Callable[[], object]) -> int:
        """Return the peak of allocated GPU memory; 0 without a GPU."""
        if not self.is_gpu:
            work()
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        self._wait()
        return torch.cuda.max_memory_allocated()

    def _wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
