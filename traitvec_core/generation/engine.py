"""What generates: one protocol, and the table in which engines are found by name."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.language_model import LanguageModel
from traitvec_core.model_files import LoadOptions

if TYPE_CHECKING:
    from traitvec_core.generation.text import Generated

__all__ = ["ENGINES", "EngineName", "EngineOptions", "GenerationEngine", "Request", "load_engine"]

EngineName = Literal["transformers", "vllm", "server"]


@dataclass(frozen=True)
class Request:
    """One response to be generated.

    Attributes:
        name: A distinct id, which names the row's random stream.
        prompt: The rendered prompt: all that the model sees.
        ids: Its tokens, BOS included where the model wants one.
    """

    name: str
    prompt: str
    ids: list[int]


class GenerationEngine(Protocol):
    """Generates responses to rendered prompts.

    Attributes:
        name: Its name in `ENGINES`.
        language_model: Renders and encodes prompts; its weights may be missing.
    """

    name: str
    language_model: LanguageModel

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        finished: AbstractSet[str] = frozenset(),
        on_finished: "Callable[[list[Generated]], None]",
    ) -> None:
        """Generate every request that is not finished.

        Args:
            requests: All requests of a stage, also those that an earlier call finished.
            sampling: Temperature, top-p, length and seed.
            finished: Names of requests that are finished already.
            on_finished: Called with responses as they are done, each once, in any order.

        Raises:
            TraitvecError: If a response cannot be had; those reported before it stay valid.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds: memory of a GPU, connections."""
        ...


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is made from.

    Attributes:
        model: The model's name, as the experiment gives it.
        load_model: Loads it with its weights; only called by engines that need them.
        loading: How the engines that load it themselves do so.
        batch_size: Rows, or calls to a server, at once; None finds a number.
        url: Address of a server.
    """

    model: str
    load_model: Callable[[], LanguageModel]
    loading: LoadOptions = field(default_factory=LoadOptions)
    batch_size: int | None = None
    url: str | None = None


def load_engine(name: EngineName, options: EngineOptions) -> GenerationEngine:
    """Return an engine by its name.

    Raises:
        TraitvecError: If the engine cannot work here, with what to do.
    """
    if name not in ENGINES:
        raise TraitvecError(f"there is no engine {name!r}; known: {', '.join(ENGINES)}")
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
    return ServerEngine(options.model, options.url, options.loading, batch_size=options.batch_size)


ENGINES: dict[str, Callable[[EngineOptions], GenerationEngine]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "server": _server,
}
