"""Steering many conditions side by side, against one condition at a time, on the embedded model."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Figure, ratio
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.models.interventions import Addition
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["figures"]

_PROJECT = Path(__file__).parent.parent
_SAMPLING = Sampling(max_new_tokens=150)
# As in the demo's evaluation on held-out questions: as many random directions as by default.
N_CONDITIONS, N_QUESTIONS = 17, 12
LAYER, COEFFICIENT = 3, 0.5
REPEATS = 3
Responses = dict[str, str]


def figures() -> Iterator[Figure]:
    """Yield the ratios of decoding steps and of CPU time; both sides give the same responses."""
    model = load_language_model("embedded", device="cpu")
    definition = ExperimentFolder(_PROJECT / "experiments", "demo").trait("refusal").definition()
    prompts = [model.prompt(question) for question in definition.questions[:N_QUESTIONS]]
    draw = torch.Generator().manual_seed(0)
    conditions = [
        (Addition(LAYER, torch.randn(model.hidden_dim, generator=draw), COEFFICIENT),)
        for _ in range(N_CONDITIONS)
    ]

    def one_at_a_time() -> Responses:
        responses: Responses = {}
        for number in range(N_CONDITIONS):
            responses |= _generate(model, prompts, {number: conditions[number]})
        return responses

    def side_by_side() -> Responses:
        return _generate(model, prompts, dict(enumerate(conditions)))

    seconds: tuple[list[float], list[float]] = ([], [])
    steps = [0.0, 0.0]
    responses: list[Responses] = [{}, {}]
    for _ in range(REPEATS):
        for side, work in enumerate((one_at_a_time, side_by_side)):
            started = time.process_time()
            responses[side], steps[side] = _count_passes(model, work)
            seconds[side].append(time.process_time() - started)
    assert responses[0] == responses[1]
    name = f"{N_CONDITIONS} conditions of {N_QUESTIONS} rows, one at a time / side by side"
    yield ratio(f"{name}: forward passes", [steps[0]], [steps[1]], at_least=2.0)
    yield ratio(f"{name}: CPU time", *seconds, at_least=1.5)


def _generate(
    model: LanguageModel, prompts: list[str], conditions: dict[int, tuple[Addition, ...]]
) -> Responses:
    rows = [(number, k) for number in conditions for k in range(len(prompts))]
    return generate_texts(
        model,
        [f"{number}|{k}" for number, k in rows],
        [prompts[k] for _, k in rows],
        _SAMPLING,
        streams=[str(k) for _, k in rows],
        interventions=[conditions[number] for number, _ in rows],
    )


def _count_passes(model: LanguageModel, work: Callable[[], Responses]) -> tuple[Responses, float]:
    n_passes = 0

    def count(*_: Any) -> None:
        nonlocal n_passes
        n_passes += 1

    handle = model.model.register_forward_pre_hook(count)
    try:
        return work(), n_passes
    finally:
        handle.remove()
