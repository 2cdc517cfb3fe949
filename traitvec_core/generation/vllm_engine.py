"""Generates with vLLM in this process: the fastest engine on a GPU.

The tests have neither vLLM nor a GPU: they check the calls of vLLM's documented `LLM` and
`SamplingParams` with a fake of the same signatures.
"""

import gc
import importlib
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.request import Generated, Request, refuse_interventions
from traitvec_core.generation.text import read_tokens
from traitvec_core.models.files import LoadOptions, check_installed, resolve_model
from traitvec_core.models.language_model import load_language_model
from traitvec_core.models.memory import release_memory

__all__ = ["VllmEngine"]

# Requests per call: the most that a killed process can lose.
_CHUNK = 512
# Share of the memory that is free when the engine starts: other processes may use the rest.
_SHARE_OF_FREE = 0.9


class VllmEngine:
    """Generates with vLLM's offline engine, which loads at the first call.

    vLLM samples, with a seed per row from its name and the experiment's seed. Responses differ from
    those of transformers (greedy ones do not), but are as repeatable on the same hardware. Prompts
    are passed as tokens, so that vLLM adds nothing, and the sampling options of the checkpoint's
    generation config are ignored.

    Args:
        model: The model's name.
        loading: Revision, dtype, and whether the model's own code may run.
        batch_size: Concurrent rows; None leaves it to vLLM.

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

    @property
    def as_loaded(self) -> dict[str, Any]:
        """See `GenerationEngine`: how vLLM loads the weights is not known here."""
        return {"model_revision": self.language_model.revision}

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        finished: AbstractSet[str] = frozenset(),
        on_finished: Callable[[list[Generated]], None],
    ) -> None:
        """Generate every request that is not finished; see `GenerationEngine`."""
        refuse_interventions(requests, self.name)
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
        """Release the GPU's memory, for the stage that collects activations."""
        if self._llm is None:
            return
        # Newer engines run in a separate process, which this ends.
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
            seed=seed_of(request.stream_name, sampling.seed),
            stop_token_ids=self.language_model.end_token_ids,
            # Tokens are decoded as for the other engines.
            detokenize=False,
        )

    def _loaded(self, longest: int, seed: int) -> Any:
        if self._llm is not None and longest > self._max_len:
            self.close()
        if self._llm is None:
            where = resolve_model(self.language_model.name)
            # Of a GGUF file it is a hash, which vLLM must not look for on the hub.
            revision = None if Path(where).is_dir() else self.language_model.revision
            options: dict[str, Any] = {"max_num_seqs": self._batch_size} if self._batch_size else {}
            try:
                self._llm = self._vllm.LLM(
                    model=where,
                    # The commit, if there is one: weights and tokenizer must match.
                    revision=revision,
                    tokenizer_revision=revision,
                    trust_remote_code=self._loading.trust_remote_code,
                    dtype=self._loading.dtype,
                    seed=seed % 2**31,
                    max_model_len=longest,
                    # Many prompts share an instruction.
                    enable_prefix_caching=True,
                    gpu_memory_utilization=_share_of_gpu(),
                    **options,
                )
            except Exception as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise TraitvecError(
                    f"vLLM could not load {self.language_model.name!r}: {reason}. `engine:"
                    " transformers` needs only torch"
                ) from error
            self._max_len = longest
        return self._llm


def _import_vllm() -> Any:
    check_installed(engine="vllm")
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise TraitvecError(
            f"engine: vllm: the installed vLLM cannot be imported ({error}); reinstall it, or set"
            " engine: transformers"
        ) from None


def _share_of_gpu() -> float:
    """Return vLLM's share of the GPU's total memory; vLLM fails if that much is not free."""
    import torch

    if not torch.cuda.is_available():
        return _SHARE_OF_FREE
    free, total = torch.cuda.mem_get_info()
    return round(_SHARE_OF_FREE * free / total, 3)
