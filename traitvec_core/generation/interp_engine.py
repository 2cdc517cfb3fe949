"""Generates, reads and steers where vLLM serves the model: in a child process or on a server."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, TypeVar

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.interp_client import (
    EngineLostError,
    InterpClient,
    LoadingError,
    steering_of,
)
from traitvec_core.generation.interp_description import Description
from traitvec_core.generation.interp_endpoint import (
    Endpoint,
    check_served,
    describe_once_loaded,
    wait_until_ready,
)
from traitvec_core.generation.request import Generated, Request
from traitvec_core.generation.text import read_tokens
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.reading import Reading, point_of
from traitvec_core.models.steering import check_interventions
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.calls import CallError, Calls, StopError, for_each
from traitvec_core.remote.run_async import run_async

__all__ = ["InterpEngine", "InterpReader"]

_T = TypeVar("_T")
_TIMEOUT_S = 1_800.0


class InterpEngine:
    """Generates through interp-engine's server; `reader` reads and steers there.

    vLLM samples, with a seed per row from its name and the experiment's seed. Sampled responses
    differ from those of transformers (greedy ones do not, up to rounding), but are as repeatable
    on the same hardware.

    Args:
        name: The engine, as experiments name it.
        model: The model without weights: renders and encodes prompts.
        endpoint: Where it is served.
        batch_size: Requests at once; None takes what the server runs at once.
    """

    def __init__(
        self,
        name: str,
        model: LanguageModel,
        endpoint: Endpoint,
        *,
        batch_size: int | None = None,
    ) -> None:
        self.name = name
        self.language_model = model
        self.reader = InterpReader(name, model, endpoint, batch_size)

    @property
    def as_loaded(self) -> dict[str, Any]:
        """See `GenerationEngine`."""
        served = self.reader.description()
        return {
            "model_revision": served.revision or self.language_model.revision,
            "model_dtype": served.dtype,
            "engine_backend": served.backend,
        }

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        finished: AbstractSet[str] = frozenset(),
        on_finished: Callable[[list[Generated]], None],
    ) -> None:
        """Generate every request that is not finished, all in flight; see `GenerationEngine`."""
        missing = [request for request in requests if request.name not in finished]
        if not missing:
            return
        model = self.language_model
        every = [item for request in missing for item in request.interventions]
        check_interventions(model, list(dict.fromkeys(every)))
        self.reader.check_lengths(
            [len(request.ids) + sampling.max_new_tokens for request in missing]
        )

        async def generate(client: InterpClient, request: Request) -> None:
            steering, is_everywhere = steering_of(request.interventions, self.name)
            options: dict[str, Any] = {
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed_of(request.stream_name, sampling.seed),
                "steer_generated": is_everywhere,
            }
            tokens = await client.generate(request.ids, options, steering, model.vocabulary_size)
            on_finished([read_tokens(model, request, tokens)])

        self.reader.each(missing, generate, lambda request: request.name)

    def close(self) -> None:
        """No-op: connections end with each call."""


class InterpReader:
    """Reads the residual stream where vLLM computes it; see `Reader`."""

    def __init__(
        self, name: str, model: LanguageModel, endpoint: Endpoint, batch_size: int | None
    ) -> None:
        self.language_model = model
        self._name = name
        self._endpoint = endpoint
        self._batch_size = batch_size
        self._description: Description | None = None

    def means(
        self,
        readings: Sequence[Reading],
        *,
        batch_size: int | None = None,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> torch.Tensor:
        """See `Reader`: averaged in vLLM's worker where the server is traitvec's."""
        model, served = self.language_model, self.description()
        # The forward pass generates one token more.
        self.check_lengths([len(reading.ids) + 1 for reading in readings])
        n_positions = len(readings[0].counted) if readings else 0
        result = torch.full(
            (n_positions, len(readings), model.n_layers, model.hidden_dim), torch.nan
        )
        finished = 0

        async def read(client: InterpClient, number: int) -> None:
            nonlocal finished
            reading = readings[number]
            if served.has_means:
                shape = (n_positions, model.n_layers, model.hidden_dim)
                means = await client.means(reading.ids, reading.counted, shape)
            else:
                points = [point_of(layer) for layer in range(model.n_layers)]
                rows = torch.stack(await client.capture(reading.ids, points, model.hidden_dim))
                means = torch.stack([rows[:, counted].mean(1) for counted in reading.counted])
            result[:, number] = means
            finished += 1
            on_batch(finished)

        self.each(range(len(readings)), read, lambda number: f"text {number + 1}", batch_size)
        return result

    def hidden(self, ids: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """See `Reader`."""
        self.check_lengths([len(ids) + 1])
        result: dict[int, torch.Tensor] = {}

        async def read(client: InterpClient, _: None) -> None:
            points = [point_of(layer) for layer in layers]
            rows = await client.capture(ids, points, self.language_model.hidden_dim)
            result.update(zip(layers, rows, strict=True))

        self.each([None], read, lambda _: "a text")
        return result

    def logits(self, ids: Sequence[int], *interventions: Intervention) -> torch.Tensor:
        """See `Reader`: the last layer, through the final norm and the unembedding there."""
        model = self.language_model
        check_interventions(model, interventions)
        steering, _ = steering_of(interventions, self._name)
        self.check_lengths([len(ids) + 1])
        result: list[torch.Tensor] = []

        async def read(client: InterpClient, _: None) -> None:
            point = point_of(model.n_blocks)
            (rows,) = await client.capture(ids, [point], model.hidden_dim, steering)
            result.append(await client.decode(rows, model.vocabulary_size))

        self.each([None], read, lambda _: "a text")
        return result[-1]

    def description(self) -> Description:
        """Return what is served, once it is loaded.

        Raises:
            TraitvecError: If it is another model, or cannot be loaded.
        """
        if self._description is None:
            self._description = run_async(self._described())
        return self._description

    def check_lengths(self, lengths: Sequence[int]) -> None:
        """Raise if a text, with all that is generated after it, is too long for the server."""
        limit = self.description().max_model_len
        if lengths and max(lengths) > limit:
            raise TraitvecError(
                f"a prompt with its response may have {max(lengths):,} tokens, but the engine was"
                f" started for {limit:,}; raise max_model_len, or lower sampling.max_new_tokens"
            )

    def each(
        self,
        items: Sequence[_T],
        work: Callable[[InterpClient, _T], Awaitable[None]],
        named: Callable[[_T], str],
        batch_size: int | None = None,
    ) -> None:
        """Run one call for every item, many in flight.

        Raises:
            TraitvecError: If a call fails for good. What was finished before stays so.
        """
        at_once = batch_size or self._batch_size or self.description().calls_at_once
        run_async(self._each(items, work, named, at_once))

    async def _each(
        self,
        items: Sequence[_T],
        work: Callable[[InterpClient, _T], Awaitable[None]],
        named: Callable[[_T], str],
        at_once: int,
    ) -> None:
        end = self._endpoint
        calls = Calls(
            AdaptiveLimit(at_once), _TIMEOUT_S, end.address, "engine_url", end.say,
            # It has described itself.
            has_answered=True, role="engine",
        )  # fmt: skip
        client = InterpClient(end.address, end.key, end.key_name, _TIMEOUT_S)
        outage = _Outage(self.language_model, end, client, self.description())

        async def one(item: _T) -> None:
            try:
                await calls.call(partial(self._unless_ended, outage, work, item))
            except CallError as error:
                raise StopError(
                    f"{named(item)}: {end.address} failed ({error.reason}); finished work is kept,"
                    " run again to continue"
                ) from None

        try:
            await for_each(deque(items), one, at_once)
        finally:
            await client.close()

    async def _unless_ended(
        self, outage: "_Outage", work: Callable[[InterpClient, _T], Awaitable[None]], item: _T
    ) -> None:
        end = self._endpoint
        try:
            await outage.is_over()
            await work(outage.client, item)
        except EngineLostError:
            end.lost("")
            raise StopError(
                (end.ended() if end.ended is not None else None)
                or f"{end.address}: vLLM's engine process died, or ran out of memory;"
                " restart the server; finished work is kept"
            ) from None
        except CallError as error:
            outage.has_begun |= error.kind in {"unreachable", "lost"}
            outage.has_begun |= isinstance(error, LoadingError)
            # A lost connection shows before the process has ended.
            if end.ended is not None and error.kind in {"unreachable", "lost", "again"}:
                for _ in range(20):
                    reason = end.ended()
                    if reason is not None:
                        raise StopError(reason) from None
                    await asyncio.sleep(0.05)
            raise

    async def _described(self) -> Description:
        end = self._endpoint
        client = InterpClient(end.address, end.key, end.key_name, _TIMEOUT_S)
        try:
            served = await wait_until_ready(client, end)
        finally:
            await client.close()
        check_served(self.language_model, end, served)
        return served


class _Outage:
    """A server that was away: it must load its model again, and may have loaded another one.

    Args:
        model: The experiment's model.
        end: Where it is served.
        client: The connection.
        served: What was served before.

    Attributes:
        client: The connection.
        has_begun: Whether the server has been away, and was not looked at since.
    """

    def __init__(
        self, model: LanguageModel, end: Endpoint, client: InterpClient, served: Description
    ) -> None:
        self.client = client
        self.has_begun = False
        self._model = model
        self._end = end
        self._served = served
        self._lock = asyncio.Lock()

    async def is_over(self) -> None:
        """Wait until a server that has returned is loaded.

        Raises:
            CallError: If it does not answer.
            TraitvecError: If it serves something else than before.
        """
        async with self._lock:
            if not self.has_begun:
                return
            served = await describe_once_loaded(self.client, self._end)
            check_served(self._model, self._end, served)
            before = self._served
            if (served.revision, served.dtype) != (before.revision, before.dtype):
                raise StopError(
                    f"{self._end.address} was restarted with other weights ({served.revision},"
                    f" {served.dtype} instead of {before.revision}, {before.dtype}); finished work"
                    " is kept, run again to continue"
                )
            self.has_begun = False
