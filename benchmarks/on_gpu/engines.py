"""vLLM on a GPU: does it do what transformers does, and how fast is it beside our own engine?"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.engines import Work, compare, running_vllm
from benchmarks.on_gpu.device import Device
from benchmarks.on_gpu.random_model import save_for_vllm
from benchmarks.on_gpu.trait import DEFINITION
from benchmarks.real.model import MODEL
from benchmarks.record import Figure, figure
from tests.generation.parity import CHECKS, Parity
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import plan_responses
from traitvec_core.generation.request import GenerationEngine
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.local_reader import LocalReader
from traitvec_core.trait import parse_definition

__all__ = ["missing_smollm2", "on_random_weights", "on_smollm2"]

_MAX_MODEL_LEN = 1024


# Of a mean, of a logit and of a greedy token's logit; measured on SmolLM2, see tests/vllm.
_TOLERANCES = {torch.float32: (1e-4, 2e-3, 1e-3), torch.bfloat16: (0.04, 3.0, 0.5)}
# Of a logit of random weights in bfloat16, over the largest. In a narrow Gemma 2 of 26 blocks each
# engine was off by 0.03, and means by 0.011 where neighbouring layers differ by 0.18 and more.
_SHARE_OF_LOGIT = 0.05


def on_random_weights(device: Device, size: str, model: LanguageModel) -> Iterator[Figure]:
    """Yield what `on_smollm2` does for a model with random weights, saved once for both engines.

    Its texts do not end, so both sides generate up to the limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_for_vllm(model, Path(folder))
        yield from _examine(device, f"random {size}", folder, is_random=True)


def on_smollm2(device: Device) -> Iterator[Figure]:
    """Yield whether the checks of tests/generation/parity.py pass, and speeds, on SmolLM2."""
    yield from _examine(device, "SmolLM2", _smollm2(), is_random=False)


def missing_smollm2() -> str | None:
    """Return why SmolLM2 cannot be read here, in one line; None if it can."""
    if Path(_smollm2()).exists():
        return None
    return f"{_smollm2()} is missing; `python -m benchmarks.real.model` downloads it"


def _smollm2() -> str:
    return os.environ.get("TRAITVEC_MODEL") or str(MODEL)


def _examine(device: Device, name: str, path: str, *, is_random: bool) -> Iterator[Figure]:
    dtype = str(device.dtype).removeprefix("torch.")
    try:
        with running_vllm(path, dtype, _MAX_MODEL_LEN, is_beside_a_model=device.is_gpu) as vllm:
            yield from _parity(device, name, path, vllm, is_random=is_random)
            device.release()
            ours = load_language_model(path, device=str(device.device), dtype=dtype)
            yield from compare(name, vllm, ours, _work(device, ours))
            del ours
    except TraitvecError as error:
        yield figure(f"{name}: engine: vllm ran to the end", 0, "1 is yes", at_least=1,
                     note=str(error))  # fmt: skip
    device.release()


def _parity(
    device: Device, name: str, path: str, vllm: GenerationEngine, *, is_random: bool
) -> Iterator[Figure]:
    reference = load_language_model(path, device=str(device.device), dtype="float32")
    parity = Parity(vllm, reference, *_TOLERANCES[device.dtype])
    if is_random and device.dtype == torch.bfloat16:
        ids = reference.encode_prompt(parity.prompts[0])
        logit = _SHARE_OF_LOGIT * float(LocalReader(reference).logits(ids).max())
        parity = _Noticeable(vllm, reference, parity.relative, logit, logit)
    for what, check in CHECKS.items():
        problem = ""
        try:
            check(parity)
        except AssertionError as error:
            problem = f"{error}".strip().partition("\n")[0] or "differs"
        yield figure(f"{name}: parity of {what}", not problem, "1 is yes", at_least=1, note=problem)


class _Noticeable(Parity):
    """Steers only by what changes logits by more than rounding does.

    A random direction has little share in random states: without it, they are about the same.
    """

    def interventions(self) -> list[tuple[Intervention, ...]]:
        reader, ids = LocalReader(self.model), self.model.encode_prompt(self.prompts[0])
        plain = reader.logits(ids)

        def is_noticeable(items: tuple[Intervention, ...]) -> bool:
            return bool((reader.logits(ids, *items) - plain).abs().max() > self.logit)

        return [items for items in super().interventions() if not items or is_noticeable(items)]


def _work(device: Device, model: LanguageModel) -> Work:
    definition = parse_definition(DEFINITION.read_bytes(), DEFINITION.name)
    planned = plan_responses("refusal", definition, 4 if device.is_toy else 100)

    def prompts(number: int) -> list[str]:
        return [model.prompt(x.question, f"{number}. {x.instruction}") for x in planned]

    answer = "Water runs down to the sea. "
    texts = [(prompt, answer * (1 + i % 20)) for i, prompt in enumerate(prompts(0))]
    sampling = Sampling(max_new_tokens=8 if device.is_toy else 150)
    return Work(prompts, sampling, texts, rounds=1 if device.is_toy else 3)
