"""`engine: vllm` against our own engine: generation, generation steered by row, and means.

Both have the same weights, dtype, prompts and limits, and take turns. Times are wall times, because
vLLM works in a child process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.record import Figure, figure, ratio
from benchmarks.smollm2 import DEFINITION, real_model_name
from benchmarks.timing import one_thread
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import EngineOptions, generate_texts, load_engine
from traitvec_core.generation.engine_process import stop_engine, vllm_python
from traitvec_core.generation.request import Generated, GenerationEngine
from traitvec_core.models.activations import capture_means
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.interventions import Addition
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.local_reader import LocalReader
from traitvec_core.models.reading import Reader

_Side = LanguageModel | GenerationEngine

__all__ = ["Work", "compare", "figures", "missing_vllm", "running_vllm"]

# What the child process imports beside torch and transformers.
_NEEDED = ("vllm", "interp_engine", "fastapi", "uvicorn")
# Of the residual stream: enough to change a response, too little to break it.
_DOSE = 0.1


@dataclass(frozen=True)
class Work:
    """What both engines do.

    Attributes:
        prompts: Returns the prompts of a round; those of two rounds begin differently, because
            vLLM keeps what it has read.
        sampling: How both sample.
        texts: Prompts with responses, for means.
        rounds: How often.
    """

    prompts: Callable[[int], list[str]]
    sampling: Sampling
    texts: list[tuple[str, str]]
    rounds: int


def figures() -> Iterator[Figure]:
    """Yield the ratios on SmolLM2 in bfloat16, 64 rows at once; nothing where vLLM is missing."""
    with _variables(TRAITVEC_VLLM_PYTHON=_cached_vllm()):
        if reason := missing_vllm():
            sys.stdout.write(f"    engines skipped: {reason}\n")
        else:
            yield from _on_smollm2()


def _on_smollm2() -> Iterator[Figure]:
    model = load_language_model(real_model_name(), device="cpu", dtype="bfloat16")
    questions = [DEFINITION.questions[row % len(DEFINITION.questions)] for row in range(64)]

    def prompts(number: int) -> list[str]:
        # Short, and no two alike: reading them takes less time than writing the answers.
        return [model.prompt(text, f"{number}-{row}.") for row, text in enumerate(questions)]

    answer = "It depends on the wind and the water, as every sailor knows. "
    texts = [(prompt, answer * (1 + i % 4)) for i, prompt in enumerate(prompts(0)[:16])]
    work = Work(prompts, Sampling(temperature=0.7, top_p=0.9, max_new_tokens=24), texts, rounds=2)
    # Two threads that wait for each other on a busy machine made ours five times as slow.
    with (
        one_thread(),
        _variables(OMP_NUM_THREADS="1"),
        running_vllm(real_model_name(), "bfloat16", max_model_len=512) as vllm,
    ):
        yield from compare("SmolLM2", vllm, model, work)


def _cached_vllm() -> str:
    """Return TRAITVEC_VLLM_PYTHON, or else the environment of `make test-vllm` if it was built."""
    from tools.vllm_environment import PINS, environment_folder

    python = environment_folder(PINS) / "bin/python"
    return os.environ.get("TRAITVEC_VLLM_PYTHON") or (str(python) if python.exists() else "")


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    """Set environment variables, which child processes get."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def missing_vllm() -> str | None:
    """Return why `engine: vllm` cannot run here, in one line; None if it can."""
    try:
        python = vllm_python()
    except TraitvecError as error:
        return str(error)
    code = (
        "from importlib.util import find_spec\n"
        f"print(*(name for name in {_NEEDED} if find_spec(name) is None))"
    )
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if result.returncode:
        last_line = result.stderr.strip().rpartition("\n")[2]
        return f"{python}: {last_line}"
    if missing := result.stdout.split():
        return f"{python} lacks {', '.join(missing)}; TRAITVEC_VLLM_PYTHON names one that has them"
    return None


@contextmanager
def running_vllm(
    model: str, dtype: str, max_model_len: int, *, is_beside_a_model: bool = False
) -> Iterator[GenerationEngine]:
    """Start vLLM, wait until it has loaded the model, and stop it in the end.

    Args:
        model: A folder, a GGUF file or a hub id.
        dtype: The type of the weights.
        max_model_len: Longest prompt with its response, in tokens.
        is_beside_a_model: Whether this process needs a part of the same GPU.

    Raises:
        TraitvecError: If it cannot start.
    """

    def no_weights() -> LanguageModel:
        raise AssertionError("vLLM loads its weights itself")

    options = EngineOptions(
        model, no_weights, LoadOptions(dtype=dtype), max_model_len=max_model_len,
        is_beside_a_judge=is_beside_a_model,
    )  # fmt: skip
    try:
        engine = load_engine("vllm", options)
        # Answered once the weights are loaded.
        assert engine.as_loaded["model_dtype"] == dtype
        yield engine
    finally:
        stop_engine()


def compare(
    name: str, vllm: GenerationEngine, model: LanguageModel, work: Work
) -> Iterator[Figure]:
    """Yield the speeds of both engines, and the ratios of their times.

    Args:
        name: The model's, for the figures.
        vllm: The engine.
        model: The same weights in this process.
        work: What both do.
    """
    steering = _steering(model, len(work.prompts(0)))
    sides: tuple[_Side, ...] = (model, vllm)

    def plain(side: _Side, number: int) -> int:
        return _generate(side, work.prompts(number), work.sampling)

    def steered(side: _Side, number: int) -> int:
        return _generate(side, work.prompts(number), work.sampling, steering)

    def means(side: _Side, _: int) -> int:
        return len(capture_means(_reader(side), work.texts))

    for side in sides:
        # Warms up kernels, and the hooks that steer and read.
        brief = work.sampling.model_copy(update={"max_new_tokens": 2})
        _generate(side, work.prompts(0)[:4], brief, steering[:4])
        means(side, 0)
    number = 0
    for what, run, unit in (
        ("generation", plain, "token"),
        ("generation steered by row", steered, "token"),
        ("means at all layers", means, "text"),
    ):
        counts, seconds = [0, 0], [0.0, 0.0]
        per_unit: tuple[list[float], list[float]] = ([], [])
        for _ in range(work.rounds):
            number += 1
            for index, side in enumerate(sides):
                started = time.perf_counter()
                count = run(side, number)
                elapsed = time.perf_counter() - started
                counts[index] += count
                seconds[index] += elapsed
                per_unit[index].append(elapsed / count)
        for index, engine in enumerate(("transformers", "vllm")):
            yield figure(
                f"{name}: engine: {engine}, {what}", counts[index] / seconds[index], f"{unit}s/s"
            )
        yield ratio(
            f"{name}: engine: transformers / engine: vllm, {what}", *per_unit,
            note=f"wall time per {unit}",
        )  # fmt: skip


def _generate(
    side: _Side,
    prompts: list[str],
    sampling: Sampling,
    interventions: list[tuple[Addition, ...]] | None = None,
) -> int:
    """Generate; returns the number of tokens, ends included."""
    lengths: list[int] = []

    def count(new: list[Generated]) -> None:
        lengths.extend(text.response_tokens + (text.finish_reason == "stop") for text in new)

    names = [str(number) for number in range(len(prompts))]
    generate_texts(side, names, prompts, sampling, interventions=interventions, on_finished=count)
    return sum(lengths)


def _reader(side: _Side) -> LanguageModel | Reader:
    if isinstance(side, LanguageModel):
        return side
    assert side.reader is not None
    return side.reader


def _steering(model: LanguageModel, n_rows: int) -> list[tuple[Addition, ...]]:
    """Return a random direction per row, added at the middle layer."""
    layer = model.n_blocks // 2
    ids = model.encode_prompt(model.prompt("Tell me about the sea."))
    # The first token's state can be a hundred times the others'.
    size = LocalReader(model).hidden(ids, [layer])[layer][1:].norm(dim=-1).mean()
    drawn = torch.randn(n_rows, model.hidden_dim, generator=torch.Generator().manual_seed(0))
    vectors = drawn / drawn.norm(dim=1, keepdim=True) * _DOSE * size.cpu()
    return [(Addition(layer, vector),) for vector in vectors]
