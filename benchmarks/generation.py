"""Generation time of a simple loop over `generate`, divided by ours."""

from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts, plan_responses
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.storage.folders import ExperimentFolder

PROJECT = Path(__file__).parent.parent
REPEATS = 3
ROWS = 200
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=150)


def generation() -> list[dict[str, Any]]:
    """200 prompts and responses of different lengths, on the embedded model and one CPU thread.

    The simple loop calls `model.generate` on batches of 8 in the given order.
    """
    model = load_language_model("embedded", device="cpu")
    prompts = _ragged_prompts(model)
    names = [str(i) for i in range(len(prompts))]
    best = [float("inf"), float("inf")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(REPEATS):
            started = perf_counter()
            _naive(model, prompts)
            between = perf_counter()
            generate_texts(model, names, prompts, SAMPLING)
            ended = perf_counter()
            best = [min(best[0], between - started), min(best[1], ended - between)]
    finally:
        torch.set_num_threads(threads)
    return [
        {
            "figure": "200 responses: generate, 8 at a time in given order / ours",
            "value": round(best[0] / best[1], 4),
            "unit": "ratio",
            "bar": 2.0,
            "at_least": True,
        }
    ]


def _ragged_prompts(model: LanguageModel) -> list[str]:
    """Both poles of the demo's traits; some questions have a few sentences before them."""
    folder = ExperimentFolder(PROJECT / "experiments", "demo")
    prompts = []
    for trait in ("refusal", "uncertainty", "verbosity"):
        planned = plan_responses(trait, folder.trait(trait).definition(), 34)
        for number, item in enumerate(planned):
            before = "Water runs down to the sea. " * (number % 7 * (number % 3 == 0))
            prompts.append(model.prompt(before + item.question, item.instruction))
    return prompts[:ROWS]


def _naive(model: LanguageModel, prompts: list[str]) -> None:
    tokenizer: Any = model.tokenizer
    tokenizer.padding_side = "left"
    # So that all rounds give the same responses.
    torch.manual_seed(0)
    for begin in range(0, len(prompts), 8):
        batch = tokenizer(
            prompts[begin : begin + 8],
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        output = model.model.generate(  # type: ignore[operator]
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            temperature=SAMPLING.temperature,
            top_p=SAMPLING.top_p,
            max_new_tokens=SAMPLING.max_new_tokens,
        )
        width = batch["input_ids"].shape[1]
        tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)


if __name__ == "__main__":
    print(generation())  # noqa: T201
