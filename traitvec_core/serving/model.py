"""The served model: interp-engine's, with means of activations."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import torch
from interp_engine.vllm_backend import VLLMModel
from interp_engine.vllm_capture import decode_tensor_payload

from traitvec_core.models.reading import point_of
from traitvec_core.serving.steering_limits import check_steering
from traitvec_core.serving.worker import EXTENSION, average

__all__ = ["EagerMeans", "MeansModel"]

# Captured rows that wait in a worker's memory for their means. vLLM leaves a tenth of a GPU free.
_MOST_BYTES = 2 * 2**30
_BYTES_PER_VALUE = 4


class MeansModel(VLLMModel):  # type: ignore[misc]
    """vLLM, with hooks and the worker extension that averages."""

    def __init__(self, path: str, **options: Any) -> None:
        extra = {**options.pop("extra_vllm_kwargs", {}), "worker_extension_cls": EXTENSION}
        super().__init__(path, extra_vllm_kwargs=extra, **options)
        self._dtype = str(options.get("dtype", "auto"))
        self._room = _Room(_MOST_BYTES)

    async def means(self, ids: Sequence[int], counted: list[list[int]]) -> torch.Tensor:
        """Return the mean residual stream over the counted tokens.

        A text whose rows at all layers do not fit into the worker's memory is read several times,
        some layers each time.

        Args:
            ids: The text.
            counted: Indices of the tokens to average, one list per position.

        Returns:
            float32 `[n_positions, n_layers, hidden_dim]`.
        """
        points = [point_of(layer) for layer in range(self.num_hidden_layers + 1)]
        row_bytes = len(ids) * self.d_model * _BYTES_PER_VALUE
        at_once = max(1, _MOST_BYTES // row_bytes)
        parts = []
        for begin in range(0, len(points), at_once):
            part = points[begin : begin + at_once]
            async with self._room.taken(row_bytes * len(part)):
                parts.append(await self._means_at(ids, part, counted))
        return torch.cat(parts, dim=1)

    def _steer_specs(self, steering_spec: Any) -> list[dict[str, Any]]:
        # interp-engine makes every steered request pass here, before vLLM sees it.
        specs: list[dict[str, Any]] = super()._steer_specs(steering_spec)
        check_steering(specs, self.num_hidden_layers, self._dtype)
        return specs

    async def _means_at(
        self, ids: Sequence[int], points: list[str], counted: list[list[int]]
    ) -> torch.Tensor:
        from vllm import SamplingParams

        await self._ensure_engine()
        request = self._new_request_id("traitvec-means")
        await self.engine.collective_rpc("register_capture", args=(request, points))
        is_collected = False
        try:
            await self._run_one(
                # Its own cache: what is served from another request's passes no hook.
                self._prompt(ids, private_kv_for=request),
                SamplingParams(max_tokens=1, temperature=0.0),
                request_id=request,
            )
            collect = self.engine.collective_rpc("collect_means", args=(request, points, counted))
            payloads = await asyncio.shield(collect)
            is_collected = True
        finally:
            if not is_collected:
                # Removes the hooks.
                await self.engine.collective_rpc("collect_request", args=(request,))
        result: torch.Tensor = decode_tensor_payload(payloads[0])
        return result


class EagerMeans:
    """Means for interp-engine's eager backend, which captures in this process.

    Args:
        model: Loaded with `interp_engine.load_model(…, backend="eager")`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    async def means(self, ids: Sequence[int], counted: list[list[int]]) -> torch.Tensor:
        """See `MeansModel`."""
        points = [point_of(layer) for layer in range(self._model.n_layers + 1)]
        captured = await self._model.capture(list(ids), points)
        rows = {str(address): value.reshape(len(ids), -1) for address, value in captured.items()}
        return average([rows[point] for point in points], counted)


class _Room:
    """Memory that requests take and give back; one that needs more than there is gets all of it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, size: int) -> Any:
        size = min(size, self._size)
        async with self._changed:
            await self._changed.wait_for(lambda: self._used + size <= self._size)
            self._used += size
        try:
            yield
        finally:
            async with self._changed:
                self._used -= size
                self._changed.notify_all()
