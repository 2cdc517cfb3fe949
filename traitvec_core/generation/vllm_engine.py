"""Generates, reads and steers with vLLM in a child process: the fastest engine on a GPU."""

from traitvec_core.generation.engine_options import KEY_NAME, EngineOptions
from traitvec_core.generation.engine_process import EngineProcess, ProcessOptions, running_engine
from traitvec_core.generation.interp_endpoint import Endpoint
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.models.files import model_fingerprint, resolve_model
from traitvec_core.models.language_model import load_language_model

__all__ = ["vllm_engine"]

# Where a judge's model needs its part of the same GPU.
_SHARE_BESIDE_A_JUDGE = 0.45


def vllm_engine(options: EngineOptions) -> InterpEngine:
    """Return the engine of the child process, which is started unless it runs.

    Raises:
        TraitvecError: If vLLM or the model's files cannot be loaded; says why.
    """
    loading = options.loading
    model = load_language_model(options.model, **vars(loading), has_weights=False)
    options.claim_gpu()
    process: EngineProcess = running_engine(
        ProcessOptions(
            # A GGUF file has been converted; the other environment need not be able to.
            model=resolve_model(options.model),
            name=options.model,
            fingerprint=model_fingerprint(options.model, loading.revision),
            revision=loading.revision,
            dtype=loading.dtype,
            tensor_parallel=options.tensor_parallel,
            max_model_len=options.max_model_len,
            calls_at_once=options.batch_size,
            memory_share=_SHARE_BESIDE_A_JUDGE if options.is_beside_a_judge else None,
        )
    )
    endpoint = Endpoint(
        process.address, process.key, KEY_NAME, ended=process.ended,
        lost=process.lost, say=options.say,
    )  # fmt: skip
    return InterpEngine("vllm", model, endpoint, batch_size=options.batch_size)
