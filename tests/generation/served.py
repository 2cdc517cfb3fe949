"""interp-engine's server in a thread of this process, over its own eager backend."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import uvicorn
from interp_engine import load_model
from interp_engine.server.app import create_app
from interp_engine.server.config import ServerConfig

from traitvec_core.generation.interp_endpoint import Endpoint
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.serving.app import Served, build_app
from traitvec_core.serving.model import EagerMeans

__all__ = ["engine_at", "listening", "serving_eagerly"]

KEY = "a-key-of-this-test"
# A little less than tiny models can read.
MAX_MODEL_LEN = 500


@contextmanager
def serving_eagerly(
    model: LanguageModel,
    folder: Path,
    *,
    key: str | None = KEY,
    name: str | None = None,
    is_ours: bool = True,
) -> Iterator[str]:
    """Serve a model, and yield the address.

    `is_ours` says whether the server averages activations, as `traitvec serve-engine` does.
    """
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)

    def load() -> object:
        served = load_model(str(folder), backend="eager", dtype="float32", device="cpu")
        served.means = EagerMeans(served).means
        return served

    if not is_ours:
        config = ServerConfig(str(folder), "eager", token=key, max_prompt_tokens=MAX_MODEL_LEN)
        with listening(create_app(config, loader=load)) as address:
            yield address
        return
    served = Served(
        name or str(folder), str(folder), None, "float32", "eager", MAX_MODEL_LEN,
        model.hidden_dim, model.vocabulary_size, load,
    )  # fmt: skip
    with listening(build_app(served, "127.0.0.1", key, 4)) as address:
        yield address


@contextmanager
def listening(app: object) -> Iterator[str]:
    """Run an app on a free port of loopback."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def engine_at(address: str, folder: Path, *, key: str | None = KEY) -> InterpEngine:
    """The engine at an address; this process loads only the tokenizer."""
    without_weights = load_language_model(str(folder), has_weights=False)
    assert without_weights.model.device == torch.device("meta")
    return InterpEngine("server", without_weights, Endpoint(address, key, "GENERATION_API_KEY"))
