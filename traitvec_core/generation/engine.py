"""The table of generation engines, by name."""

from collections.abc import Callable
from typing import Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.engine_options import EngineOptions
from traitvec_core.generation.request import GenerationEngine
from traitvec_core.generation.responses import as_engine
from traitvec_core.judging.load import used_judges
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.settings.scorer import is_scorer

__all__ = ["ENGINES", "EngineName", "engine_of", "load_engine", "reading_engine_of"]

EngineName = Literal["transformers", "vllm", "server"]


def engine_of(
    settings: ExperimentSettings,
    load_model: Callable[[], LanguageModel],
    *,
    claim_gpu: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> GenerationEngine:
    """Return the engine of an experiment; the caller closes it.

    Args:
        settings: The experiment's settings.
        load_model: Loads its model in this process; called only if the engine needs it.
        claim_gpu: Called before an engine that loads its own model takes a GPU.
        say: Called with a line that the user should see.

    Raises:
        TraitvecError: If the engine cannot work here.
    """
    size, longest = settings.batch_size, settings.max_model_len
    options = EngineOptions(
        settings.model,
        load_model,
        settings.load_options,
        None if size == "auto" else size,
        url=settings.engine_url,
        served_name=settings.engine_model,
        must_read=settings.engine_reads,
        tensor_parallel=settings.tensor_parallel,
        max_model_len=None if longest == "auto" else longest,
        is_beside_a_judge=any(
            judge.provider.is_in_process and not is_scorer(judge.name)
            for judge in used_judges(settings)
        ),
        claim_gpu=claim_gpu,
        say=say,
    )
    return load_engine(settings.engine, options)


def reading_engine_of(
    settings: ExperimentSettings,
    load_model: Callable[[], LanguageModel],
    *,
    claim_gpu: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> GenerationEngine:
    """Return the engine that reads activations and steers; see `engine_of`.

    Where the experiment's own engine only returns texts, it is the model in this process.
    """
    engine = engine_of(settings, load_model, claim_gpu=claim_gpu, say=say)
    if engine.reader is not None:
        return engine
    engine.close()
    say(
        f"{settings.engine_url} only returns texts, or does not answer: {settings.model} is loaded"
        " in this process to read and steer it (engine_reads: true prevents that)"
    )
    return as_engine(load_model(), None if settings.batch_size == "auto" else settings.batch_size)


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
