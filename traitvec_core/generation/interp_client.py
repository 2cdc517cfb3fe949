"""Talks to interp-engine's server, or to `traitvec serve-engine`: the same, with means."""

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.generation.interp_description import Description, read_description
from traitvec_core.models.interventions import Ablation, Addition, Cap, Intervention, Projection
from traitvec_core.models.reading import READING_PROTOCOL, point_of
from traitvec_core.remote.answers import parse_json
from traitvec_core.remote.calls import CallError
from traitvec_core.remote.http_client import BODY_S, CONNECT_S
from traitvec_core.remote.keys import redacted
from traitvec_core.remote.sdk_errors import clipped

__all__ = ["EngineLostError", "InterpClient", "LoadingError", "steering_of"]

_SLOWEST_BYTES_PER_S = 1e6
_GET_S = 60.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_DTYPES = {"float32": "<f4", "float16": "<f2"}


class EngineLostError(CallError):
    """The server is there, but vLLM's engine process below it has died."""


class LoadingError(CallError):
    """The server is there, but has not loaded its model yet, or again."""


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
        self._key = key
        self._key_name = key_name
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=address,
            headers={
                # What is compressed has no bound.
                "accept-encoding": "identity",
                **({"authorization": f"Bearer {key}"} if key else {}),
            },
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
        if status not in ("loading", "ready", "failed"):
            raise CallError("stop", f"{self.address} is not an interp-engine server")
        return status, self._shown(_reason_of(str(answer.get("error", ""))))

    async def describe(self) -> Description:
        """Ask what is served."""
        answer = await self._ask("GET", "/v1/describe", None, 1_000_000)
        own = await self._ask("GET", "/v1/traitvec", None, 65_536, allowed=(404,))
        if "protocol" not in own:
            # interp-engine's own server.
            own = {}
        elif own["protocol"] != READING_PROTOCOL:
            raise CallError(
                "stop",
                f"{self.address} runs another version of traitvec than this; install the same one"
                " there",
            )
        try:
            return read_description(answer, own)
        except ValueError:
            raise CallError(
                "stop",
                f"{self.address} describes itself in an unknown way; start traitvec serve-engine"
                " there",
            ) from None

    async def generate(
        self,
        ids: Sequence[int],
        options: Mapping[str, Any],
        steering: list[dict[str, Any]],
        vocabulary_size: int,
    ) -> list[int]:
        """Return the generated tokens, with the end token if there is one.

        Args:
            ids: The prompt.
            options: `max_tokens`, `temperature`, `top_p`, `seed`, and `steer_generated`.
            steering: See `steering_of`.
            vocabulary_size: Tokens are below it.
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
        if not all(0 <= token < vocabulary_size for token in tokens):
            raise CallError(
                "stop",
                f"{self.address} returned a token that the model's vocabulary of"
                f" {vocabulary_size:,} does not have; it serves another model",
            )
        return tokens

    async def means(self, ids: Sequence[int], counted: list[list[int]], shape: Any) -> torch.Tensor:
        """Return means over tokens, float32 `[n_positions, n_layers, hidden_dim]`."""
        body = {"prompt_token_ids": list(ids), "counted": counted}
        answer = await self._ask("POST", "/v1/means", body, _most_bytes(shape))
        means = self._tensor(answer.get("means"), shape)
        for mean, indices in zip(means, counted, strict=True):
            if not indices:
                # Missing, whatever the server says.
                mean.fill_(torch.nan)
            elif mean.isnan().all():
                # It would count as missing. A layer that overflows is left to the checks.
                raise CallError("stop", f"{self.address} returned means that are no numbers")
        return means

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
        return [self._tensor(activations.get(point), shape) for point in points]

    async def decode(self, residuals: torch.Tensor, vocabulary_size: int) -> torch.Tensor:
        """Return the logits of last-layer rows `[n_rows, hidden_dim]`: `[n_rows, vocabulary]`."""
        body = {"residuals": _encoded(residuals)}
        shape = (len(residuals), vocabulary_size)
        answer = await self._ask("POST", "/v1/decode_residuals", body, _most_bytes(shape))
        return self._tensor(answer.get("tensor"), shape)

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
        status, headers = 0, httpx.Headers()
        # A server answers these at once; describing may wait for the model's thread.
        timeout_s = self._timeout_s if body is not None else min(_GET_S, self._timeout_s)
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
        try:
            async with (
                asyncio.timeout(None) as limit,
                self._http.stream(method, path, json=body, timeout=timeout) as response,
            ):
                status, headers = response.status_code, response.headers
                # Once it answers, the whole answer must come; a byte now and then is not enough.
                limit.reschedule(
                    asyncio.get_running_loop().time() + BODY_S + most_bytes / _SLOWEST_BYTES_PER_S
                )
                async for part in response.aiter_raw():
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
            if answer is not None:
                return answer
            if status == 404:
                return {}
            raise CallError("again", "an unreadable answer")
        detail = "" if answer is None else str(answer.get("detail", ""))
        raise self._refusal(status, path, detail, headers)

    def _refusal(
        self, status: int, path: str, detail: str, headers: Mapping[str, str]
    ) -> CallError:
        shown = clipped(self._shown(detail), 120) or "no reason given"
        if status < 400:
            host = clipped(urlsplit(headers.get("location", "")).netloc.rpartition("@")[2], 80)
            return CallError(
                "stop",
                f"{self.address} redirects to {host or 'another page'} ({status}), where the key is"
                " not sent; set engine_url to the final address",
            )
        if status == 401:
            return CallError(
                "stop",
                f"{self.address} rejects the key (401): set {self._key_name} to the key that the"
                " server was started with",
            )
        if status == 404:
            return CallError("stop", f"{self.address} has no {path}; check engine_url")
        if status == 503 and "still loading" in detail:
            return LoadingError("busy", "the model is still loading")
        if status in {429, 503}:
            return CallError("busy", f"busy ({status}: {shown})", retry_after_s=_seconds(headers))
        if status in {400, 403, 422}:
            return CallError("stop", f"{self.address} refuses: {shown}")
        if "engine process died" in detail:
            return EngineLostError("stop", "vLLM's engine process died")
        return CallError("again", f"server error ({status}: {shown})")

    def _tensor(self, payload: Any, shape: Sequence[int]) -> torch.Tensor:
        """Return a tensor of the wire format as float32."""
        try:
            words = np.frombuffer(base64.b64decode(payload["data"]), _DTYPES[payload["dtype"]])
            if list(payload["shape"]) != list(shape) or words.size != int(np.prod(shape)):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise CallError(
                "stop",
                f"{self.address} returned no tensor of shape {tuple(shape)}; it serves another"
                " model, or another version",
            ) from None
        return torch.from_numpy(words.astype(np.float32)).reshape(tuple(shape))

    def _shown(self, text: str) -> str:
        """Return a server's text without keys; that of a child process is in no variable."""
        return redacted(text.replace(self._key, "[key]") if self._key else text)


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
        answer = parse_json(data)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _reason_of(error: str) -> str:
    """Return what went wrong, without what pydantic adds to it."""
    match = re.search(r"Value error, (.*?) \[type=", " ".join(error.split()))
    return clipped(match[1] if match else error, 180)


def _seconds(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers.get("retry-after", ""))
    except ValueError:
        return None
