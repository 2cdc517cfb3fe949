"""Decodes with transformers in continuous batches: when rows end, others take their slots.

Unlike in `generate`, a row that has ended is not computed until the longest of its batch ends. Each
row can be steered by its own interventions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import DynamicCache

from traitvec_core.experiment import Sampling
from traitvec_core.generation.choice import choose_tokens, numbers_of
from traitvec_core.generation.key_values import KeyValues
from traitvec_core.generation.request import Request
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.key_value_support import forward_parameters
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.row_table import RowTable
from traitvec_core.models.steering import steer_table

__all__ = ["decode"]

# Most prompt tokens of one forward pass, including padding.
_PROMPT_TOKENS_CPU = 4_096
_PROMPT_TOKENS_GPU = 16_384
# Rows are admitted together: a pass over one prompt costs as much as a step for all rows.
_LEAST_FREE = 1 / 4

Report = Callable[[list[tuple[Request, list[int]]]], None]


def decode(
    model: LanguageModel,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    slots: int,
    report: Report,
) -> None:
    """Generate all requests, at most `slots` concurrently.

    The same requests, sampling and slots lead to the same forward passes, with equal bits if the
    hardware's kernels are deterministic.

    Args:
        model: The model; steering hooks stay active, and each request's interventions are added.
        requests: What to generate; sorted by length, they need little padding.
        sampling: Temperature, top-p, length and seed.
        slots: Most concurrent rows.
        report: Called with the requests and tokens of rows that have ended.

    Raises:
        TraitvecError: If an intervention does not fit the model.
        UnsupportedCacheError: If the model has another kind of cache; nothing has been reported.
    """
    slots = min(slots, len(requests))
    interventions = [item for request in requests for item in request.interventions]
    with torch.inference_mode(), steer_table(model, interventions) as steering:
        batch = _Batch(model, requests, sampling, slots, report, steering)
        while batch.waiting or batch.rows:
            free = slots - len(batch.rows)
            if batch.waiting and (free >= slots * _LEAST_FREE or free >= len(batch.waiting)):
                while batch.waiting and len(batch.rows) < slots:
                    batch.admit(slots - len(batch.rows))
            else:
                batch.step()


@dataclass
class _Row:
    number: int
    request: Request
    tokens: list[int] = field(default_factory=list)


class _Batch:
    """Active and waiting rows."""

    def __init__(
        self,
        model: LanguageModel,
        requests: Sequence[Request],
        sampling: Sampling,
        slots: int,
        report: Report,
        steering: RowTable,
    ) -> None:
        self.waiting = [_Row(number, request) for number, request in enumerate(requests)][::-1]
        self.rows: list[_Row] = []
        self._model = model
        self._sampling = sampling
        self._report = report
        self._steering = steering
        self._ends = set(model.end_token_ids)
        self._parameters = forward_parameters(model)
        longest = max(len(request.ids) for request in requests)
        self._key_values = KeyValues(slots, longest, model.device)
        is_greedy = sampling.temperature == 0
        self._numbers = (
            None
            if is_greedy
            else numbers_of([request.stream_name for request in requests], sampling)
        )

    def admit(self, room: int) -> None:
        """Process the prompts of some waiting rows and choose their first tokens."""
        rows = self._next(room)
        # Samples of one cell share their prompt, which is processed once; so do rows that are
        # steered alike, or not yet.
        keys = [_prompt_key(row.request) for row in rows]
        prompts = list(dict.fromkeys(keys))
        place = {prompt: number for number, prompt in enumerate(prompts)}
        source = torch.tensor([place[key] for key in keys], device=self._model.device)
        width = max(len(prompt) for prompt, _ in prompts)
        pad = self._model.pad_token_id
        ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt, _ in prompts]
        own = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt, _ in prompts]
        mask = self._tensor(own)
        cache = DynamicCache()
        self._steering.set_rows([interventions for _, interventions in prompts])
        scores = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        self._key_values.add(cache, mask, source)
        first = len(self.rows)
        self.rows += rows
        self._choose(first, scores[source])

    def step(self) -> None:
        """Choose one more token for every row."""
        ids = [[row.tokens[-1]] for row in self.rows]
        position = [[len(row.request.ids) + len(row.tokens) - 1] for row in self.rows]
        self._steering.set_rows([row.request.interventions for row in self.rows])
        scores = self._forward(
            ids, self._key_values.mask(), self._tensor(position), self._key_values.cache
        )
        self._key_values.advance()
        self._choose(0, scores)

    def _next(self, room: int) -> list[_Row]:
        is_cpu = self._model.device.type == "cpu"
        budget = _PROMPT_TOKENS_CPU if is_cpu else _PROMPT_TOKENS_GPU
        rows: list[_Row] = []
        widest = 0
        while self.waiting and len(rows) < room:
            widest = max(widest, len(self.waiting[-1].request.ids))
            if rows and (len(rows) + 1) * widest > budget:
                break
            rows.append(self.waiting.pop())
        return rows

    def _forward(
        self, ids: list[list[int]], mask: torch.Tensor, position: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        """Return the logits of the last position, `[n, vocabulary]`."""
        options = {"position_ids": position, "logits_to_keep": 1}
        output = cast(Any, self._model.model)(
            input_ids=self._tensor(ids),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in options.items() if name in self._parameters},
        )
        return cast(torch.Tensor, output.logits[:, -1])

    def _choose(self, first: int, scores: torch.Tensor) -> None:
        """Choose the next token of all rows from `first` on; rows that end are removed."""
        rows = self.rows[first:]
        numbers = scores.new_zeros(len(rows))
        if self._numbers is not None:
            numbers = self._numbers[[r.number for r in rows], [len(r.tokens) for r in rows]]
        chosen = choose_tokens(scores, numbers, self._sampling).tolist()
        ended = []
        for i, (row, token) in enumerate(zip(rows, chosen, strict=True), start=first):
            row.tokens.append(token)
            if token in self._ends or len(row.tokens) == self._sampling.max_new_tokens:
                ended.append(i)
        if not ended:
            return
        self._report([(self.rows[i].request, self.rows[i].tokens) for i in ended])
        for place, mover in self._key_values.drop(ended):
            self.rows[place] = self.rows[mover]
        del self.rows[self._key_values.n_rows :]

    def _tensor(self, values: list[list[int]]) -> torch.Tensor:
        return torch.tensor(values, device=self._model.device)


def _prompt_key(request: Request) -> tuple[tuple[int, ...], tuple[Intervention, ...]]:
    """Return what the keys and values of a prompt depend on."""
    items = tuple(item for item in request.interventions if item.positions != "response")
    return tuple(request.ids), items
