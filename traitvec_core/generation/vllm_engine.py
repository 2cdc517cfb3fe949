"""Generate with vLLM in this process: the fastest way on a GPU.

Not run on a GPU by this project's own tests, which have neither vLLM nor a GPU: they hold the calls
to vLLM's documented `LLM` and `SamplingParams`, through a stand-in with the same signatures.
"""

import gc
import importlib
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.request import Generated, Request
from traitvec_core.generation.text import read_tokens
from traitvec_core.models.files import LoadOptions, check_installed, resolve_model
from traitvec_core.models.language_model import load_language_model
from traitvec_core.models.memory import release_memory

__all__ = ["VllmEngine"]

# Requests that are handed over together, and lost together when the process dies.
_CHUNK = 512
# Of the memory that is free when the engine starts: another process may hold the rest.
_SHARE_OF_FREE = 0.9


class VllmEngine:
    """Generates with vLLM's offline engine, which loads at the first call.

    vLLM draws by itself, from a seed of the row's own that follows from its name and the
    experiment's seed: the responses are others than those of transformers, except greedy ones, but
    equally repeatable on the same hardware. Prompts are handed over as tokens, so that nothing is
    put before them again, and what a checkpoint's generation config says of sampling is ignored.

    Args:
        model: The model's name.
        loading: Revision, dtype, and whether code that comes with the model may run.
        batch_size: Rows at once; None leaves it to vLLM.

    Raises:
        TraitvecError: If vLLM is not installed, or the model's files cannot be loaded.
    """

    name = "vllm"

    def __init__(
        self,
        model: str,
        loading: LoadOptions = LoadOptions(),
        *,
        batch_size: int | None = None,
    ) -> None:
        self._vllm = _import_vllm()
        self.language_model = load_language_model(model, **vars(loading), has_weights=False)
        self._loading = loading
        self._batch_size = batch_size
        self._llm: Any = None
        self._max_len = 0

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        finished: AbstractSet[str] = frozenset(),
        on_finished: Callable[[list[Generated]], None],
    ) -> None:
        """Generate every request that is not finished; see `GenerationEngine`."""
        missing = [request for request in requests if request.name not in finished]
        if not missing:
            return
        longest = max(len(request.ids) for request in requests) + sampling.max_new_tokens
        llm = self._loaded(longest, sampling.seed)
        for begin in range(0, len(missing), _CHUNK):
            chunk = missing[begin : begin + _CHUNK]
            outputs = llm.generate(
                [{"prompt_token_ids": request.ids} for request in chunk],
                [self._parameters(request, sampling) for request in chunk],
                use_tqdm=False,
            )
            on_finished(
                [
                    read_tokens(self.language_model, request, list(output.outputs[0].token_ids))
                    for request, output in zip(chunk, outputs, strict=True)
                ]
            )

    def close(self) -> None:
        """Give the GPU's memory back, for the stage that reads activations."""
        if self._llm is None:
            return
        # Newer engines run in a process of their own, which this ends.
        core: Any = getattr(getattr(self._llm, "llm_engine", None), "engine_core", None)
        if hasattr(core, "shutdown"):
            core.shutdown()
        self._llm = None
        gc.collect()
        release_memory()

    def _parameters(self, request: Request, sampling: Sampling) -> Any:
        return self._vllm.SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed_of(request.name, sampling.seed),
            stop_token_ids=self.language_model.end_token_ids,
            # Tokens come back, and are read as those of every other engine are.
            detokenize=False,
        )

    def _loaded(self, longest: int, seed: int) -> Any:
        if self._llm is not None and longest > self._max_len:
            self.close()
        if self._llm is None:
            where = resolve_model(self.language_model.name)
            options: dict[str, Any] = {"max_num_seqs": self._batch_size} if self._batch_size else {}
            try:
                self._llm = self._vllm.LLM(
                    model=where,
                    # The commit, where there is one: weights and tokenizer belong together.
                    revision=self.language_model.revision,
                    tokenizer_revision=self.language_model.revision,
                    trust_remote_code=self._loading.trust_remote_code,
                    dtype=self._loading.dtype,
                    seed=seed % 2**31,
                    max_model_len=longest,
                    # Instructions are shared by many prompts.
                    enable_prefix_caching=True,
                    gpu_memory_utilization=_share_of_gpu(),
                    **options,
                )
            except Exception as error:
                said = " ".join(str(error).split())[:300] or type(error).__name__
                raise TraitvecError(
                    f"vLLM could not load {self.language_model.name!r}: {said}. `engine:"
                    " transformers` needs nothing but torch"
                ) from error
            self._max_len = longest
        return self._llm


def _import_vllm() -> Any:
    check_installed(engine="vllm")
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise TraitvecError(
            f"engine: vllm: vLLM is installed and cannot be imported ({error}); mend it, or set"
            " engine: transformers"
        ) from None


def _share_of_gpu() -> float:
    """What vLLM may take: a share of the whole memory; it stops if that much is not free."""
    import torch

    if not torch.cuda.is_available():
        return _SHARE_OF_FREE
    free, whole = torch.cuda.mem_get_info()
    return round(_SHARE_OF_FREE * free / whole, 3)
