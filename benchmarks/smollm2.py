"""SmolLM2-135M-Instruct, and texts that it has written, for benchmarks on a real model."""

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.real.model import get_model
from benchmarks.timing import one_thread
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts, plan_responses
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.storage.folders import ExperimentFolder

__all__ = [
    "DEFINITION",
    "N_TEXTS",
    "SAMPLING",
    "Text",
    "prompts",
    "real_model",
    "real_model_name",
    "written",
]

_PROJECT = Path(__file__).parent.parent
# Texts that several parts read.
N_TEXTS = 12
# As in `make real`.
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=80)
DEFINITION = ExperimentFolder(_PROJECT / "experiments", "smollm2").trait("brevity").definition()


class Text(NamedTuple):
    """A prompt and the response to it."""

    prompt: str
    response: str


@lru_cache(maxsize=1)
def real_model() -> LanguageModel:
    """Load the model in float32 on the CPU; `TRAITVEC_MODEL` uses another one."""
    return load_language_model(real_model_name(), device="cpu", dtype="float32")


def real_model_name() -> str:
    """Return the path of the model, which is downloaded first; or `TRAITVEC_MODEL`."""
    return os.environ.get("TRAITVEC_MODEL") or str(get_model())


def prompts(count: int) -> list[str]:
    """Return prompts of the trait `brevity`: as many positive as negative, in turn.

    About half of the responses end before the limit.
    """
    planned = plan_responses("brevity", DEFINITION, count // 2)
    positive, negative = planned[: count // 2], planned[count // 2 :]
    in_turn = [item for pair in zip(positive, negative, strict=True) for item in pair]
    return [real_model().prompt(item.question, item.instruction, "user") for item in in_turn]


@lru_cache(maxsize=1)
def written(count: int) -> list[Text]:
    """Return texts that the model writes for `prompts`."""
    chosen = prompts(count)
    names = [str(number) for number in range(count)]
    with one_thread():
        texts = generate_texts(real_model(), names, chosen, SAMPLING)
    return [Text(prompt, texts[name]) for name, prompt in zip(names, chosen, strict=True)]
