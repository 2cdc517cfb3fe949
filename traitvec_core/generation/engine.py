"""The table of generation engines, by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.generation.request import GenerationEngine
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.language_model import LanguageModel

__all__ = ["ENGINES", "EngineName", "EngineOptions", "load_engine"]

EngineName = Literal["transformers", "vllm", "server"]


@dataclass(frozen=True)
class EngineOptions:
    """What an engine needs to be created.

    Attributes:
        model: The model's name, as the experiment gives it.
        load_model: Loads the model with its weights; only called by engines that need them.
        loading: Options for engines that load the model themselves.
        batch_size: Concurrent rows, or calls to a server; None chooses a number.
        url: Address of the server.
        served_name: The model's name on the server; None finds it in the server's list.
        say: Called with a line that the user should see while an engine generates.
    """

    model: str
    load_model: Callable[[], LanguageModel]
    loading: LoadOptions = field(default_factory=LoadOptions)
    batch_size: int | None = None
    url: str | None = None
    served_name: str | None = None
    say: Callable[[str], None] = field(default=lambda text: None)


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
    from traitvec_core.generation.vllm_engine import VllmEngine

    return VllmEngine(options.model, options.loading, batch_size=options.batch_size)


def _server(options: EngineOptions) -> GenerationEngine:
    from traitvec_core.generation.server_engine import ServerEngine

    if not options.url:
        raise TraitvecError(
            "engine: server needs engine_url, the address of an OpenAI-compatible server, such as"
            " http://127.0.0.1:8000/v1"
        )
    return ServerEngine(
        options.model,
        options.url,
        options.loading,
        served_name=options.served_name,
        batch_size=options.batch_size,
        say=options.say,
    )


ENGINES: dict[str, Callable[[EngineOptions], GenerationEngine]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "server": _server,
}
