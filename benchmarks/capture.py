"""The cost of capturing activations, compared with a bare forward pass and two common ways.

The model has twelve decoder blocks, hidden_dim 512 and a vocabulary of 64,000. The 32 texts have 16
to 190 tokens, log-uniform like real answers, in random order.
"""

import itertools
import random
import time
from collections.abc import Callable

import torch
from torch.profiler import profile
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.record import Figure, figure, ratio
from traitvec_core.models import local_reader
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel, load_language_model

N_TEXTS = 32
REPEATS = 3
# Batch size of the forward passes whose memory is measured.
ROWS = 2


def figures() -> list[Figure]:
    """Return ratios of times, both sides measured in turn, and of peak memory."""
    model, texts = _model(), _texts()
    expected = capture_means(model, texts)
    for way in (_one_by_one, _batches_of_32):
        # Their last layer is after the final norm.
        torch.testing.assert_close(
            way(model, texts)[:, :-1], expected[:, :-1], rtol=1e-3, atol=1e-3
        )
    ours, single, batched = _alternate(
        2,
        lambda: capture_means(model, texts),
        lambda: _one_by_one(model, texts),
        lambda: _batches_of_32(model, texts),
    )
    return [
        _overhead(model, texts),
        ratio("one text at a time, all hidden states / capture", single, ours, at_least=1.45),
        ratio("batches of 32 as given, all hidden states / capture", batched, ours, at_least=4.0),
        figure("capture's memory at 2,048 tokens / at 256", _memory(model), "ratio", at_most=1.1),
    ]


def _model() -> LanguageModel:
    config = LlamaConfig(
        num_hidden_layers=12, hidden_size=512, intermediate_size=1408, vocab_size=64_000,
        num_attention_heads=8, num_key_value_heads=8,
    )  # fmt: skip
    torch.manual_seed(0)
    tokenizer = load_language_model("embedded", device="cpu").tokenizer
    return LanguageModel("random", LlamaForCausalLM(config).eval(), tokenizer)


def _texts() -> list[tuple[str, str]]:
    sentence = "Water runs down to the sea. "
    longest = 20
    counts = [round(longest ** (i / (N_TEXTS - 1))) for i in range(N_TEXTS)]
    random.Random(0).shuffle(counts)
    return [("Tell me about rivers. ", sentence * count) for count in counts]


def _one_by_one(model: LanguageModel, texts: list[tuple[str, str]]) -> torch.Tensor:
    """As in persona-vectors: the whole model, one text at a time, all hidden states."""
    means = []
    for prompt, response in texts:
        encoded = model.encode_response(prompt, response)
        with torch.inference_mode():
            output = model.model(input_ids=torch.tensor([encoded.ids]), output_hidden_states=True)
        begin = encoded.n_prompt
        means.append(torch.stack([state[0, begin:].mean(0) for state in output.hidden_states]))
    return torch.stack(means)


def _batches_of_32(model: LanguageModel, texts: list[tuple[str, str]]) -> torch.Tensor:
    """As in repeng: the whole model, batches of 32 texts in the given order, padded on the left."""
    means = []
    for start in range(0, len(texts), 32):
        encoded = [model.encode_response(*text) for text in texts[start : start + 32]]
        width = max(len(item.ids) for item in encoded)
        gaps = [width - len(item.ids) for item in encoded]
        ids = torch.tensor([[0] * gap + e.ids for gap, e in zip(gaps, encoded, strict=True)])
        attention = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps])
        with torch.inference_mode():
            output = model.model(input_ids=ids, attention_mask=attention, output_hidden_states=True)
        for row, (gap, item) in enumerate(zip(gaps, encoded, strict=True)):
            begin = gap + item.n_prompt
            means.append(
                torch.stack([state[row, begin:].mean(0) for state in output.hidden_states])
            )
    return torch.stack(means)


def _overhead(model: LanguageModel, texts: list[tuple[str, str]]) -> Figure:
    """Time of capturing, divided by that of the bare decoder on the same batches.

    The two differ by less than a machine's speed varies from second to second. So they take turns
    batch by batch, and the fastest run of each batch counts. The rest of capturing (encoding,
    sorting, collecting) is measured separately, without forward passes.
    """
    forward = local_reader._forward_means
    passes: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def recorded(model: LanguageModel, ids: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        passes.append((ids, marks, forward(model, ids, marks)))
        return passes[-1][2]

    local_reader._forward_means = recorded
    try:
        capture_means(model, texts)
        remembered = itertools.cycle(means for _, _, means in passes)
        local_reader._forward_means = lambda *_: next(remembered)
        (rest,) = _alternate(REPEATS, lambda: capture_means(model, texts))
        rest_s = min(rest)
    finally:
        local_reader._forward_means = forward
    captured_s = bare_s = 0.0
    for ids, marks, _ in passes:

        def bare(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                model.decoder(input_ids=ids, use_cache=False)

        def ours(ids: torch.Tensor = ids, marks: torch.Tensor = marks) -> None:
            forward(model, ids, marks)

        captured, naked = _alternate(REPEATS, ours, bare)
        captured_s, bare_s = captured_s + min(captured), bare_s + min(naked)
    return figure(
        "capture / bare decoder forward", (captured_s + rest_s) / bare_s, "ratio", at_most=1.05
    )


def _memory(model: LanguageModel) -> float:
    """Peak memory that capturing adds to a forward pass: for long texts, divided by short ones.

    Counted from the profiler's record of all allocations, which has no noise.
    """
    extra = []
    for width in (256, 2_048):
        ids = torch.randint(5, 1_000, (ROWS, width))
        is_counted = torch.ones(ROWS, 1, width, dtype=torch.bool)

        def bare(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                model.decoder(input_ids=ids, use_cache=False)

        def captured(ids: torch.Tensor = ids, marks: torch.Tensor = is_counted) -> None:
            local_reader._forward_means(model, ids, marks.clone())

        extra.append(_peak_bytes(captured) - _peak_bytes(bare))
    return extra[1] / extra[0]


def _peak_bytes(work: Callable[[], object]) -> int:
    with profile(profile_memory=True) as profiled:
        work()
    current = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return peak


def _alternate(repeats: int, *sides: Callable[[], object]) -> list[list[float]]:
    taken: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, work in enumerate(sides):
            started = time.perf_counter()
            work()
            taken[side].append(time.perf_counter() - started)
    return taken
