"""Generates in this process with transformers, with a random stream per row."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any, cast

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.choice import choose_tokens, numbers_of
from traitvec_core.generation.decoding import Report, decode
from traitvec_core.generation.key_values import UnsupportedCacheError
from traitvec_core.generation.request import Generated, Request
from traitvec_core.generation.slots import default_slots
from traitvec_core.generation.text import read_tokens
from traitvec_core.models.key_value_support import has_plain_cache
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.memory import is_out_of_memory, release_memory
from traitvec_core.models.steering import steer

__all__ = ["TransformersEngine"]

# Size of a group as a multiple of the slots: the most that a killed process can lose.
_GROUP = 4


class TransformersEngine:
    """Generates with a loaded model.

    A response depends on its stream, the seed, its prompt and its interventions: token t of a row
    is drawn with the t-th number of the row's stream. The rest of the batch changes only the last
    bits of the logits, through the shapes of matrix products. So that a killed and resumed run ends
    with the same bytes, rows are generated in groups that depend only on the requests, and a group
    with a missing row is generated again as a whole; no row is reported twice.

    One exception: after running out of memory, the rest of a group is generated with half as many
    concurrent rows. A resumed run repeats that only if it runs out at the same point.

    Args:
        model: The model; steering hooks stay active, and each request's interventions are added.
        batch_size: Concurrent rows; None chooses by device, model and memory.
    """

    name = "transformers"

    def __init__(self, model: LanguageModel, *, batch_size: int | None = None) -> None:
        self.language_model = model
        self._batch_size = batch_size
        self._is_plain = not has_plain_cache(model)

    @property
    def as_loaded(self) -> dict[str, Any]:
        """See `GenerationEngine`."""
        return dict(self.language_model.as_loaded)

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        finished: AbstractSet[str] = frozenset(),
        on_finished: Callable[[list[Generated]], None],
    ) -> None:
        """Generate every request that is not finished; see `GenerationEngine`."""
        if not requests:
            return
        # Sorted by length, for little padding. The longest first: if they fit into memory, the
        # others do too.
        numbers = sorted(range(len(requests)), key=lambda i: (-len(requests[i].ids), i))
        slots = self._batch_size or default_slots(
            self.language_model, len(requests[numbers[0]].ids) + sampling.max_new_tokens
        )
        at_once = slots
        for begin, end in pairwise(_even_edges(len(requests), _GROUP * slots)):
            group = [requests[i] for i in numbers[begin:end]]
            if not all(request.name in finished for request in group):
                at_once = self._make_group(group, sampling, at_once, finished, on_finished)

    def close(self) -> None:
        """No-op: the caller owns the model."""

    def _make_group(
        self,
        group: list[Request],
        sampling: Sampling,
        slots: int,
        finished: AbstractSet[str],
        on_finished: Callable[[list[Generated]], None],
    ) -> int:
        """Generate a group; returns the number of concurrent rows that fit into memory."""
        made: set[str] = set()

        def report(ended: list[tuple[Request, list[int]]]) -> None:
            made.update(request.name for request, _ in ended)
            new = [
                read_tokens(self.language_model, request, tokens)
                for request, tokens in ended
                if request.name not in finished
            ]
            if new:
                on_finished(new)

        missing = group
        while missing:
            fits = self._attempt(missing, sampling, slots, report)
            missing = [request for request in missing if request.name not in made]
            if fits:
                continue
            release_memory()
            if slots == 1:
                raise TraitvecError(
                    f"{self.language_model.name}: out of memory for a single row of"
                    f" {len(missing[0].ids)} + {sampling.max_new_tokens} tokens; lower"
                    " sampling.max_new_tokens, or use a smaller model or dtype"
                )
            slots = max(1, min(slots, len(missing)) // 2)
        return slots

    def _attempt(
        self, requests: list[Request], sampling: Sampling, slots: int, report: Report
    ) -> bool:
        """Generate requests; returns False if memory ran out."""
        try:
            if not self._is_plain:
                try:
                    decode(self.language_model, requests, sampling, slots=slots, report=report)
                except UnsupportedCacheError:
                    self._is_plain = True
            if self._is_plain:
                for begin, end in pairwise(_even_edges(len(requests), slots)):
                    batch = requests[begin:end]
                    report(_plain_batch(self.language_model, batch, sampling))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True


def _plain_batch(
    model: LanguageModel, batch: list[Request], sampling: Sampling
) -> list[tuple[Request, list[int]]]:
    """Generate a batch with transformers' `generate`, which supports every kind of cache."""
    width = max(len(request.ids) for request in batch)
    pad = model.pad_token_id
    ids = [[pad] * (width - len(request.ids)) + request.ids for request in batch]
    mask = [[0] * (width - len(request.ids)) + [1] * len(request.ids) for request in batch]
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=model.end_token_ids or None,
        pad_token_id=pad,
    )
    rows = [request.interventions for request in batch]
    steering = steer(model, rows=rows) if any(rows) else nullcontext()
    with torch.inference_mode(), steering, _own_generation_config(model, config):
        output = cast(Any, model.model).generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Choice(batch, sampling, width)]),
        )
    return list(zip(batch, output[:, width:].tolist(), strict=True))


class _Choice(LogitsProcessor):
    """Leaves greedy decoding one token per row: the one that the row's random number chooses."""

    def __init__(self, batch: list[Request], sampling: Sampling, prompt_width: int) -> None:
        self._width = prompt_width
        self._sampling = sampling
        self._numbers = numbers_of([request.stream_name for request in batch], sampling)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        numbers = self._numbers[:, input_ids.shape[1] - self._width]
        chosen = choose_tokens(scores, numbers, self._sampling).unsqueeze(1)
        only = torch.full_like(scores, -torch.inf)
        return cast(torch.FloatTensor, only.scatter_(1, chosen, 0.0))


@contextmanager
def _own_generation_config(model: LanguageModel, config: GenerationConfig) -> Iterator[None]:
    """Replace the checkpoint's generation config.

    `generate` takes unset options from it: a penalty or a list of suppressed tokens of one model
    would make its vectors incomparable with those of others.
    """
    shipped = model.model.generation_config
    model.model.generation_config = config
    try:
        yield
    finally:
        model.model.generation_config = shipped


def _even_edges(n: int, limit: int) -> list[int]:
    count = -(-n // limit)
    return [round(i * n / count) for i in range(count + 1)] if count else [0]
