"""Generation: a simple loop over transformers' `generate`, against ours.

On the embedded model as it is commonly done, 8 rows at a time against all of our slots; and on
SmolLM2 like for like, with the same number of rows, so that only continuous batching and sorting
differ. Responses end where the model ends them. Both sides sample alike: temperature 0.7, top-p
0.9, no top-k, at most 150 tokens, or 80 on SmolLM2. Each draws its own responses, so CPU time is
compared per generated token, and mean lengths are given.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Figure, figure, ratio
from benchmarks.smollm2 import SAMPLING, prompts, real_model
from benchmarks.timing import cpu_seconds, one_thread
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts, plan_responses
from traitvec_core.generation.request import Generated
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["on_embedded_model", "on_real_model"]

PROJECT = Path(__file__).parent.parent
REPEATS = 2
ROWS = 200
_EMBEDDED_SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=150)
# Rows at once on both sides → number of prompts, repeats.
LIKE_FOR_LIKE = {8: (8, 2), 32: (64, 1)}

Report = Callable[[int], None]


def on_embedded_model() -> Iterator[Figure]:
    """Yield the ratio for 200 prompts and responses of different lengths, on one CPU thread."""
    model = load_language_model("embedded", device="cpu")
    yield from _compare(
        "200 responses: generate, 8 at a time in given order / ours",
        model, _ragged_prompts(model), _EMBEDDED_SAMPLING, (8, None), REPEATS, at_least=2.0,
    )  # fmt: skip


def on_real_model() -> Iterator[Figure]:
    """Yield the ratios for the same number of rows on both sides, on SmolLM2."""
    model = real_model()
    for n_rows, (count, repeats) in LIKE_FOR_LIKE.items():
        name = f"SmolLM2: generate / ours, {n_rows} rows against {n_rows}"
        yield from _compare(
            name, model, prompts(count), SAMPLING, (n_rows, n_rows), repeats, at_least=1.0
        )


def _compare(
    name: str,
    model: LanguageModel,
    texts: list[str],
    sampling: Sampling,
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
        sampling: How both sides sample.
        rows: Rows at once of `generate`, and of ours; None is as many as it chooses.
        repeats: Rounds.
        at_least: The bar.
    """
    per_token: tuple[list[float], list[float]] = ([], [])
    n_tokens = [0, 0]
    with one_thread():
        for seed in range(repeats):
            for side, work in enumerate((_simple, _ours)):
                made: list[int] = []
                run = partial(
                    work,
                    model,
                    texts,
                    sampling.model_copy(update={"seed": seed}),
                    rows[side],
                    made.append,
                )
                seconds = cpu_seconds(run)
                per_token[side].append(seconds / made[0])
                n_tokens[side] += made[0]
    lengths = [count / repeats / len(texts) for count in n_tokens]
    yield ratio(
        name, *per_token, at_least=at_least,
        note=f"CPU time per token; mean lengths {lengths[0]:.0f} and {lengths[1]:.0f} tokens",
    )  # fmt: skip
    yield figure(f"{name}: ours", 1 / min(per_token[1]), "tokens/CPU-second")


def _ours(
    model: LanguageModel, texts: list[str], sampling: Sampling, n_rows: int | None, report: Report
) -> None:
    """Generate with our engine; report the number of tokens, ends included."""
    lengths: list[int] = []

    def count(new: list[Generated]) -> None:
        lengths.extend(text.response_tokens + (text.finish_reason == "stop") for text in new)

    names = [str(number) for number in range(len(texts))]
    generate_texts(model, names, texts, sampling, batch_size=n_rows, on_finished=count)
    report(sum(lengths))


def _simple(
    model: LanguageModel, texts: list[str], sampling: Sampling, n_rows: int | None, report: Report
) -> None:
    """Generate in batches in the given order; report the tokens up to each response's end."""
    assert n_rows is not None
    tokenizer: Any = model.tokenizer
    tokenizer.padding_side = "left"
    ends = set(model.end_token_ids)
    torch.manual_seed(sampling.seed)
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
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            max_new_tokens=sampling.max_new_tokens,
        )
        responses = output[:, batch["input_ids"].shape[1] :]
        tokenizer.batch_decode(responses, skip_special_tokens=True)
        for row in responses.tolist():
            stop = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
            total += stop + 1
    report(total)


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
