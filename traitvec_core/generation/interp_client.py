"""Talks to interp-engine's server, or to `traitvec serve-engine`: the same, with means."""

import asyncio
import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.interventions import Ablation, Addition, Cap, Intervention, Projection
from traitvec_core.models.reading import READING_PROTOCOL
from traitvec_core.remote.calls import CallError
from traitvec_core.remote.http_client import BODY_S, CONNECT_S
from traitvec_core.remote.keys import redacted
from traitvec_core.remote.sdk_errors import clipped

__all__ = ["Description", "EngineLostError", "InterpClient", "decoded", "point_of", "steering_of"]

_SLOWEST_BYTES_PER_S = 1e6
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_DTYPES = {"float32": "<f4", "float16": "<f2"}


class EngineLostError(CallError):
    """The server is there, but vLLM's engine process below it has died."""


@dataclass(frozen=True)
class Description:
    """What a server serves.

    Attributes:
        model: The model's name there.
        n_blocks: Its decoder blocks.
        hidden_dim: Width of its residual stream.
        revision: The commit on the hub, where it is known.
        dtype: Of the weights, where it is known.
        backend: What runs them.
        max_model_len: Longest prompt with its response, in tokens.
        calls_at_once: Requests that it runs at once.
        has_means: Whether it averages activations itself.
    """

    model: str
    n_blocks: int
    hidden_dim: int
    revision: str | None
    dtype: str | None
    backend: str
    max_model_len: int
    calls_at_once: int
    has_means: bool


class InterpClient:
    """One connection; use it within one event loop, and close it.

    Args:
        address: The server, such as `http://127.0.0.1:8900`.
        key: Its bearer token, or None.
        key_name: The environment variable of the token, for messages.
        timeout_s: Longest silence of the server.
    """

    def __init__(self, address: str, key: str | None, key_name: str, timeout_s: float) -> None:
        import httpx

        self.address = address
        self._key_name = key_name
        self._http = httpx.AsyncClient(
            base_url=address,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            # `Calls` limits them.
            limits=httpx.Limits(max_connections=None),
            # A proxy of the environment cannot reach this machine's loopback.
            trust_env=urlsplit(address).hostname not in _LOOPBACK,
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._http.aclose()

    async def status(self) -> tuple[str, str]:
        """Return `loading`, `ready` or `failed`, and the reason of a failure.

        Raises:
            CallError: If the server does not answer, or is no such server.
        """
        answer = await self._ask("GET", "/health", None, 65_536, allowed=(503,))
        status = answer.get("status")
        if status not in {"loading", "ready", "failed"}:
            raise CallError("stop", f"{self.address} is not an interp-engine server")
        return status, _reason_of(str(answer.get("error", "")))

    async def describe(self) -> Description:
        """Ask what is served."""
        answer = await self._ask("GET", "/v1/describe", None, 1_000_000)
        try:
            own: Mapping[str, Any] = await self._ask("GET", "/v1/traitvec", None, 65_536)
        except CallError:
            own = {}
        if own and own.get("protocol") != READING_PROTOCOL:
            raise CallError(
                "stop",
                f"{self.address} runs another version of traitvec than this; install the same one"
                " there",
            )
        try:
            shape, limits = answer["description"], answer["limits"]
            longest = int(limits["max_prompt_tokens"])
            return Description(
                model=str(own.get("model") or shape["hf_model_id"]),
                n_blocks=int(shape["n_layers"]),
                hidden_dim=int(shape["d_model"]),
                revision=own.get("revision"),
                dtype=own.get("dtype") or _explicit(answer["load"]["dtype"]),
                backend=str(
                    own.get("backend")
                    or f"{shape['backend']}, interp-engine {answer['engine_version']}"
                ),
                max_model_len=int(own.get("max_model_len") or longest),
                calls_at_once=int(limits["max_concurrency"]),
                has_means=bool(own),
            )
        except (KeyError, TypeError, ValueError):
            raise CallError("stop", f"{self.address} describes itself in an unknown way") from None

    async def generate(
        self, ids: Sequence[int], options: Mapping[str, Any], steering: list[dict[str, Any]]
    ) -> list[int]:
        """Return the generated tokens, with the end token if there is one.

        Args:
            ids: The prompt.
            options: `max_tokens`, `temperature`, `top_p`, `seed`, and `steer_generated`.
            steering: See `steering_of`.
        """
        n_most = int(options["max_tokens"])
        body = {
            "prompt_token_ids": list(ids), "top_k": 0, "presence_penalty": 0.0, "stream": False,
            **options, **({"steering": steering} if steering else {}),
        }  # fmt: skip
        answer = await self._ask("POST", "/v1/generate", body, 4_000 + 2_000 * n_most)
        tokens = answer.get("token_ids")
        if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
            raise CallError("again", "an answer without token ids")
        if len(tokens) > n_most:
            raise CallError("stop", f"{self.address} returned {len(tokens)} tokens for {n_most}")
        return tokens

    async def means(self, ids: Sequence[int], counted: list[list[int]], shape: Any) -> torch.Tensor:
        """Return means over tokens, float32 `[n_positions, n_layers, hidden_dim]`."""
        body = {"prompt_token_ids": list(ids), "counted": counted}
        answer = await self._ask("POST", "/v1/means", body, _most_bytes(shape))
        return decoded(answer.get("means"), shape)

    async def capture(
        self,
        ids: Sequence[int],
        points: Sequence[str],
        hidden_dim: int,
        steering: list[dict[str, Any]] | None = None,
    ) -> list[torch.Tensor]:
        """Return the residual stream at some points, `[n_tokens, hidden_dim]` each."""
        body: dict[str, Any] = {"prompt_token_ids": list(ids), "points": list(points)}
        if steering:
            body["steering"] = steering
        shape = (len(ids), hidden_dim)
        answer = await self._ask("POST", "/v1/capture", body, len(points) * _most_bytes(shape))
        activations = answer.get("activations")
        if not isinstance(activations, dict):
            raise CallError("stop", f"{self.address} returned no activations")
        return [decoded(activations.get(point), shape) for point in points]

    async def decode(self, residuals: torch.Tensor) -> torch.Tensor:
        """Return the logits of last-layer rows `[n_rows, hidden_dim]`: `[n_rows, vocabulary]`."""
        body = {"residuals": _encoded(residuals)}
        # No vocabulary is larger.
        most = _most_bytes((len(residuals), 1_000_000))
        answer = await self._ask("POST", "/v1/decode_residuals", body, most)
        tensor = answer.get("tensor")
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if not isinstance(shape, list) or len(shape) != 2 or shape[0] != len(residuals):
            raise CallError("stop", f"{self.address} returned no logits")
        return decoded(tensor, tuple(shape))

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        most_bytes: int,
        allowed: tuple[int, ...] = (),
    ) -> dict[str, Any]:
        import httpx

        failure: CallError | None = None
        data = bytearray()
        status = 0
        try:
            async with (
                asyncio.timeout(None) as limit,
                self._http.stream(method, path, json=body) as response,
            ):
                status = response.status_code
                # Once it answers, the whole answer must come; a byte now and then is not enough.
                limit.reschedule(
                    asyncio.get_running_loop().time() + BODY_S + most_bytes / _SLOWEST_BYTES_PER_S
                )
                async for part in response.aiter_bytes():
                    data += part
                    if len(data) > most_bytes:
                        failure = CallError(
                            "stop",
                            f"{self.address}{path} returned more than {most_bytes:,} bytes, which"
                            " no right answer has",
                        )
                        break
        except TimeoutError:
            failure = CallError("again", "an answer that was not complete in time")
        except httpx.ConnectError as error:
            failure = CallError("unreachable", type(error).__name__)
        except httpx.ConnectTimeout:
            failure = CallError("unreachable", f"no connection within {CONNECT_S:g} s")
        except httpx.TimeoutException:
            failure = CallError("slow", "no answer in time")
        except httpx.HTTPError as error:
            failure = CallError("lost", f"connection lost ({type(error).__name__})")
        if failure is not None:
            # Outside the handler: the library's error holds the token.
            raise failure
        answer = _parsed(data)
        if status == 200 or status in allowed:
            if answer is None:
                raise CallError("again", "an unreadable answer")
            return answer
        raise self._refusal(status, path, "" if answer is None else str(answer.get("detail", "")))

    def _refusal(self, status: int, path: str, detail: str) -> CallError:
        shown = clipped(redacted(detail), 200) or "no reason given"
        if status == 401:
            return CallError(
                "stop",
                f"{self.address} rejects the key (401): set {self._key_name} to the key that the"
                " server was started with",
            )
        if status == 404:
            return CallError("stop", f"{self.address} has no {path}; check engine_url")
        if status == 503:
            return CallError("busy", f"busy (503: {shown})")
        if status in {400, 403, 422}:
            return CallError("stop", f"{self.address} refuses: {shown}")
        if "engine process died" in detail:
            return EngineLostError("stop", "vLLM's engine process died")
        return CallError("again", f"server error ({status}: {shown})")


def decoded(payload: Any, shape: Sequence[int]) -> torch.Tensor:
    """Return a tensor of the wire format as float32.

    Raises:
        CallError: If it is none, or has another shape.
    """
    try:
        words = np.frombuffer(base64.b64decode(payload["data"]), _DTYPES[payload["dtype"]])
        if list(payload["shape"]) != list(shape) or words.size != int(np.prod(shape)):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise CallError("stop", f"the server returned no tensor of shape {tuple(shape)}") from None
    return torch.from_numpy(words.astype(np.float32)).reshape(tuple(shape))


def point_of(layer: int) -> str:
    """Return interp-engine's address of a layer: blocks are counted from 0 there."""
    return "resid_pre.0" if layer == 0 else f"resid_post.{layer - 1}"


def steering_of(interventions: Sequence[Intervention], engine: str) -> tuple[list[Any], bool]:
    """Return interventions in the wire format, and whether they change generated tokens too.

    Raises:
        TraitvecError: If the engine cannot do them.
    """
    positions = {item.positions for item in interventions}
    if not positions <= {"all", "prompt"} or len(positions) > 1:
        raise TraitvecError(
            f"engine: {engine} steers all tokens, or the prompt alone, not"
            f" {' and '.join(sorted(positions))}; use engine: transformers"
        )
    steering = []
    for item in interventions:
        point, _, block = point_of(item.layer).partition(".")
        steering.append({"point": point, "layers": {block: [_operation(item)]}})
    return steering, positions != {"prompt"}


def _operation(item: Intervention) -> dict[str, Any]:
    vector = _encoded(item.vector)
    if isinstance(item, Addition):
        return {"method": "additive", "vector": vector, "scale": float(item.coefficient)}
    if isinstance(item, Ablation):
        return {"method": "ablate", "vector": vector}
    if isinstance(item, Cap | Projection):
        low, high = (None if abs(bound) == float("inf") else bound for bound in item.range)
        return {"method": "projection_cap", "vector": vector, "min": low, "max": high}
    raise TraitvecError(f"{type(item).__name__} works only with engine: transformers")


def _encoded(tensor: torch.Tensor) -> dict[str, Any]:
    data = tensor.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes()
    return {
        "dtype": "float32", "shape": list(tensor.shape), "data": base64.b64encode(data).decode(),
    }  # fmt: skip


def _most_bytes(shape: Sequence[int]) -> int:
    return 10_000 + int(np.prod(shape)) * 4 * 4 // 3


def _parsed(data: bytes | bytearray) -> dict[str, Any] | None:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _reason_of(error: str) -> str:
    """Return what went wrong, without what pydantic adds to it."""
    match = re.search(r"Value error, (.*?) \[type=", " ".join(error.split()))
    return clipped(redacted(match[1] if match else error), 300)


def _explicit(dtype: str) -> str | None:
    return None if dtype == "auto" else dtype
