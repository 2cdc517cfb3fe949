"""Generation: a simple loop over transformers' `generate`, against ours.

On the embedded model as it is commonly done, 8 rows at a time against all of our slots; and on
SmolLM2 like for like, with the same number of rows, so that only continuous batching and sorting
differ. Responses end where the model ends them. Both sides sample alike: temperature 0.7, top-p
0.9, no top-k, at most 150 tokens. Each draws its own responses, so CPU time is compared per
generated token, and mean lengths are given.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Figure, figure, ratio
from benchmarks.smollm2 import SAMPLING, prompts, real_model
from traitvec_core.generation import generate_texts, plan_responses
from traitvec_core.generation.request import Generated
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["on_embedded_model", "on_real_model"]

PROJECT = Path(__file__).parent.parent
REPEATS = 3
ROWS = 200
# Rows at once on both sides → number of prompts, repeats.
LIKE_FOR_LIKE = {8: (24, 2), 32: (64, 2)}


def on_embedded_model() -> Iterator[Figure]:
    """Yield the ratio for 200 prompts and responses of different lengths, on one CPU thread."""
    model = load_language_model("embedded", device="cpu")
    yield from _compare(
        "200 responses of the embedded model: generate, 8 at a time as given / ours",
        model, _ragged_prompts(model), (8, None), REPEATS, at_least=2.0,
    )  # fmt: skip


def on_real_model() -> Iterator[Figure]:
    """Yield the ratios for the same number of rows on both sides, on SmolLM2."""
    model = real_model()
    for n_rows, (count, repeats) in LIKE_FOR_LIKE.items():
        name = f"{count} responses of SmolLM2: generate / ours, {n_rows} rows against {n_rows}"
        yield from _compare(name, model, prompts(count), (n_rows, n_rows), repeats, at_least=1.0)


def _compare(
    name: str,
    model: LanguageModel,
    texts: list[str],
    rows: tuple[int, int | None],
    repeats: int,
    *,
    at_least: float,
) -> Iterator[Figure]:
    """Yield the ratio of CPU times per token, and the mean lengths.

    Args:
        name: The name of the ratio.
        model: The model.
        texts: The prompts, in the given order.
        rows: Rows at once of `generate`, and of ours; None is as many as it chooses.
        repeats: Rounds.
        at_least: The bar.
    """
    per_token: tuple[list[float], list[float]] = ([], [])
    n_tokens = [0, 0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in range(repeats):
            for side, work in enumerate((_simple, _ours)):
                started = time.process_time()
                made = work(model, texts, rows[side], seed)
                per_token[side].append((time.process_time() - started) / made)
                n_tokens[side] += made
    finally:
        torch.set_num_threads(threads)
    lengths = [count / repeats / len(texts) for count in n_tokens]
    yield ratio(
        name, *per_token, at_least=at_least,
        note=f"CPU time per token; mean lengths {lengths[0]:.0f} and {lengths[1]:.0f} tokens",
    )  # fmt: skip
    yield figure(f"{name.partition(':')[0]}: ours", 1 / min(per_token[1]), "tokens/CPU-second")


def _ours(model: LanguageModel, texts: list[str], n_rows: int | None, seed: int) -> int:
    """Generate with our engine; returns the tokens, ends included."""
    lengths: list[int] = []

    def count(new: list[Generated]) -> None:
        lengths.extend(text.response_tokens + (text.finish_reason == "stop") for text in new)

    names = [str(number) for number in range(len(texts))]
    sampling = SAMPLING.model_copy(update={"seed": seed})
    generate_texts(model, names, texts, sampling, batch_size=n_rows, on_finished=count)
    return sum(lengths)


def _simple(model: LanguageModel, texts: list[str], n_rows: int | None, seed: int) -> int:
    """Generate in batches in the given order; returns the tokens up to each response's end."""
    assert n_rows is not None
    tokenizer: Any = model.tokenizer
    tokenizer.padding_side = "left"
    ends = set(model.end_token_ids)
    torch.manual_seed(seed)
    total = 0
    for begin in range(0, len(texts), n_rows):
        batch = tokenizer(
            texts[begin : begin + n_rows],
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        generator: Any = model.model
        output = generator.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            temperature=SAMPLING.temperature,
            top_p=SAMPLING.top_p,
            top_k=0,
            max_new_tokens=SAMPLING.max_new_tokens,
        )
        responses = output[:, batch["input_ids"].shape[1] :]
        tokenizer.batch_decode(responses, skip_special_tokens=True)
        for row in responses.tolist():
            stop = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
            total += stop + 1
    return total


def _ragged_prompts(model: LanguageModel) -> list[str]:
    """Both poles of the demo's traits; some questions have a few sentences before them."""
    folder = ExperimentFolder(PROJECT / "experiments", "demo")
    made = []
    for trait in ("refusal", "uncertainty", "verbosity"):
        planned = plan_responses(trait, folder.trait(trait).definition(), 34)
        for number, item in enumerate(planned):
            before = "Water runs down to the sea. " * (number % 7 * (number % 3 == 0))
            made.append(model.prompt(before + item.question, item.instruction))
    return made[:ROWS]
