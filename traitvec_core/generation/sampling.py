"""Generate planned responses with transformers, each row from a random stream of its own."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.plan import PlannedResponse
from traitvec_core.language_model import LanguageModel

__all__ = ["RESPONSE_COLUMNS", "generate_responses", "generate_texts"]

RESPONSE_COLUMNS = (
    "question", "instruction", "prompt", "response",
    "question_id", "prompt_tokens", "response_tokens", "finish_reason", "pole",
)  # fmt: skip

Rows = list[dict[str, Any]]


def generate_responses(
    model: LanguageModel,
    planned: Sequence[PlannedResponse],
    sampling: Sampling,
    *,
    instruction_role: str = "auto",
    batch_size: int | None = None,
    finished: Iterable[dict[str, Any]] = (),
    on_batch: Callable[[Rows], None] = lambda rows: None,
) -> pd.DataFrame:
    """Generate every planned response.

    A response depends on its own id, the seed and its prompt, and on neither batch nor order: token
    t of row i is drawn with the t-th number of row i's stream.

    Args:
        model: The model.
        planned: What to generate; see `plan_responses`.
        sampling: Temperature, top-p, length and seed.
        instruction_role: Where the instruction goes.
        batch_size: Rows at once; None picks by device and model size.
        finished: Rows of an earlier, interrupted call; they are not generated again.
        on_batch: Called with the rows of every finished batch.

    Returns:
        A table in the plan's order with `RESPONSE_COLUMNS`. `finish_reason` is `stop` or `length`.

    Raises:
        TraitvecError: If a prompt does not fit the model's context.
    """
    done = {row["question_id"]: row for row in finished}
    prompts = [model.prompt(item.question, item.instruction, instruction_role) for item in planned]
    names = [item.question_id for item in planned]
    by_name = {
        item.question_id: (item, prompt) for item, prompt in zip(planned, prompts, strict=True)
    }

    def keep(texts: list[dict[str, Any]]) -> None:
        rows = []
        for text in texts:
            item, prompt = by_name[text["name"]]
            rows.append(
                {
                    "question": item.question,
                    "instruction": item.instruction,
                    "prompt": prompt,
                    "response": text["response"],
                    "question_id": item.question_id,
                    "prompt_tokens": text["prompt_tokens"],
                    "response_tokens": text["response_tokens"],
                    "finish_reason": text["finish_reason"],
                    "pole": item.pole,
                }
            )
        done.update({row["question_id"]: row for row in rows})
        on_batch(rows)

    generate_texts(
        model, names, prompts, sampling, batch_size=batch_size, skip=set(done), on_batch=keep
    )
    return pd.DataFrame([done[name] for name in names], columns=list(RESPONSE_COLUMNS))


def generate_texts(
    model: LanguageModel,
    names: Sequence[str],
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    batch_size: int | None = None,
    skip: set[str] | frozenset[str] = frozenset(),
    on_batch: Callable[[Rows], None] = lambda rows: None,
) -> dict[str, str]:
    """Generate one text for each rendered prompt.

    Args:
        model: The model; hooks that steer it are respected.
        names: A distinct id for each row, which names its random stream.
        prompts: Rendered prompts.
        sampling: Temperature, top-p, length and seed.
        batch_size: Rows at once; None picks by device and model size.
        skip: Names of rows that are finished already.
        on_batch: Called after each batch with dictionaries of `name`, `response`, `prompt_tokens`,
            `response_tokens` and `finish_reason`.

    Returns:
        The response by name.
    """
    encoded = [model.encode_prompt(prompt) for prompt in prompts]
    _check_lengths(model, names, encoded, sampling.max_new_tokens)
    texts: dict[str, str] = {}
    # In the order given: rows of one pole stand together there, and end at about the same length.
    # The batches do not depend on `skip`, so a resumed run repeats those of an undisturbed one.
    for batch in _even_batches(len(names), batch_size or _default_batch_size(model)):
        if all(names[i] in skip for i in batch):
            continue
        rows = _generate_batch(
            model, [names[i] for i in batch], [encoded[i] for i in batch], sampling
        )
        # A batch that was finished in part is made whole again, but nothing is reported twice.
        rows = [row for row in rows if row["name"] not in skip]
        texts.update({row["name"]: row["response"] for row in rows})
        on_batch(rows)
    return texts


def _generate_batch(
    model: LanguageModel, names: list[str], prompts: list[list[int]], sampling: Sampling
) -> Rows:
    width = max(len(ids) for ids in prompts)
    pad = model.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device
    )
    processors = LogitsProcessorList()
    if sampling.temperature > 0:
        processors.append(_SeededChoice(names, sampling, width))
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=model.end_token_ids or None,
        pad_token_id=pad,
    )
    with torch.inference_mode(), _own_generation_config(model, config):
        output = cast(Any, model.model).generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=processors,
        )
    ends = set(model.end_token_ids)
    rows = []
    for name, prompt, new in zip(names, prompts, output[:, width:].tolist(), strict=True):
        stop = next((i for i, token in enumerate(new) if token in ends), None)
        kept = new if stop is None else new[:stop]
        rows.append(
            {
                "name": name,
                "response": cast(str, model.tokenizer.decode(kept, skip_special_tokens=True)),
                "prompt_tokens": len(prompt),
                "response_tokens": len(kept),
                "finish_reason": "length" if stop is None else "stop",
            }
        )
    return rows


@contextmanager
def _own_generation_config(model: LanguageModel, config: GenerationConfig) -> Iterator[None]:
    """Take the place of the checkpoint's generation config.

    `generate` fills whatever is left open from the checkpoint's own: a penalty or a list of
    suppressed tokens that one model ships with would make its vectors incomparable.
    """
    shipped = model.model.generation_config
    model.model.generation_config = config
    try:
        yield
    finally:
        model.model.generation_config = shipped


class _SeededChoice(LogitsProcessor):
    """Choose each row's next token by inverting its distribution at the row's own random number.

    Greedy decoding then takes the only token left. The distribution is the softmax at the sampling
    temperature, cut to the nucleus: the likeliest tokens up to the one that reaches `top_p`. Sums
    run in token order and in float64, so that rounding (which differs between batch shapes) hardly
    ever changes a choice.
    """

    # Nearly always enough for the nucleus, and much cheaper than sorting a vocabulary.
    _LIKELIEST = 64

    def __init__(self, names: list[str], sampling: Sampling, prompt_width: int) -> None:
        self._width = prompt_width
        self._temperature = sampling.temperature
        self._top_p = sampling.top_p
        self._numbers = torch.from_numpy(
            np.stack(
                [_stream(name, sampling.seed).random(sampling.max_new_tokens) for name in names]
            )
        )

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        number = self._numbers[:, input_ids.shape[1] - self._width].to(scores.device).unsqueeze(1)
        probability = (scores.float() / self._temperature).softmax(-1)
        if self._top_p < 1:
            choice = self._from_nucleus(probability, number)
        else:
            choice = _invert(probability, number)
        only = torch.full_like(scores, -torch.inf)
        return cast(torch.FloatTensor, only.scatter_(1, choice, 0.0))

    def _from_nucleus(self, probability: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        mass, tokens = probability.topk(min(self._LIKELIEST, probability.shape[1]))
        choice = self._from_sorted(mass, tokens, number)
        wide = mass.sum(-1) < self._top_p
        if bool(wide.any()):
            mass, tokens = probability[wide].sort(descending=True)
            choice[wide] = self._from_sorted(mass, tokens, number[wide])
        return choice

    def _from_sorted(
        self, mass: torch.Tensor, tokens: torch.Tensor, number: torch.Tensor
    ) -> torch.Tensor:
        before = mass.double().cumsum(-1) - mass
        mass = torch.where(before < self._top_p, mass, 0.0)
        tokens, order = tokens.sort(-1)
        return tokens.gather(1, _invert(mass.gather(1, order), number))


def _invert(mass: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Index at which the running sum of `mass` `[n, k]` passes `number` `[n, 1]` of its total."""
    total = mass.double().cumsum(-1)
    index = torch.searchsorted(total, number * total[:, -1:], right=True)
    return index.clamp_(max=mass.shape[1] - 1)


def _stream(name: str, seed: int) -> np.random.Generator:
    key = hashlib.sha256(f"{seed}|{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], dtype=np.uint64)))


def _even_batches(n: int, limit: int) -> list[range]:
    count = -(-n // limit)
    edges = [round(i * n / count) for i in range(count + 1)] if count else [0]
    return [range(begin, end) for begin, end in pairwise(edges)]


def _default_batch_size(model: LanguageModel) -> int:
    parameters = sum(p.numel() for p in model.model.parameters())
    if model.device.type != "cpu":
        return 64
    # Small enough that a killed run loses seconds, and that short rows wait little for long ones.
    return 50 if parameters < 100e6 else 8


def _check_lengths(
    model: LanguageModel, names: Sequence[str], encoded: Sequence[list[int]], new_tokens: int
) -> None:
    limit = model.context_tokens
    if limit is None:
        return
    for name, ids in zip(names, encoded, strict=True):
        if len(ids) + new_tokens > limit:
            raise TraitvecError(
                f"{name}: a prompt of {len(ids)} tokens and {new_tokens} new ones exceed the"
                f" {limit} tokens of context of {model.name}; shorten the question or lower"
                " sampling.max_new_tokens"
            )
