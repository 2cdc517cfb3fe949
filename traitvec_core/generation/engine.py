"""The table of generation engines, by name."""

from collections.abc import Callable
from typing import Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.generation.engine_options import EngineOptions
from traitvec_core.generation.request import GenerationEngine

__all__ = ["ENGINES", "EngineName", "load_engine"]

EngineName = Literal["transformers", "vllm", "server"]


def load_engine(name: EngineName, options: EngineOptions) -> GenerationEngine:
    """Return an engine by its name.

    Raises:
        TraitvecError: If the engine cannot work here; the message says what to do.
    """
    if name not in ENGINES:
        raise TraitvecError(f"there is no engine {name!r}; choose one of {', '.join(ENGINES)}")
    return ENGINES[name](options)


def _transformers(options: EngineOptions) -> GenerationEngine:
    from traitvec_core.generation.transformers_engine import TransformersEngine

    return TransformersEngine(options.load_model(), batch_size=options.batch_size)


def _vllm(options: EngineOptions) -> GenerationEngine:
    from traitvec_core.generation.vllm_engine import vllm_engine

    return vllm_engine(options)


def _server(options: EngineOptions) -> GenerationEngine:
    from traitvec_core.generation.interp_server import find_interp_server
    from traitvec_core.generation.server_engine import ServerEngine

    if not options.url:
        raise TraitvecError(
            "engine: server needs engine_url, the address of an OpenAI-compatible server, such as"
            " http://127.0.0.1:8000/v1"
        )
    interp = find_interp_server(options)
    if interp is not None:
        return interp
    return ServerEngine(options.model, options.url, options.loading, batch_size=options.batch_size)


ENGINES: dict[str, Callable[[EngineOptions], GenerationEngine]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "server": _server,
}
