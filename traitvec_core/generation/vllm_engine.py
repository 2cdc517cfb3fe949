"""Generates, reads and steers with vLLM in a child process: the fastest engine on a GPU."""

import os
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.generation.engine_options import KEY_NAME, EngineOptions
from traitvec_core.generation.engine_process import EngineProcess, ProcessOptions, running_engine
from traitvec_core.generation.interp_endpoint import Endpoint
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.models.files import model_fingerprint, resolve_model
from traitvec_core.models.language_model import load_language_model

__all__ = ["vllm_engine"]

_MASK = "CUDA_VISIBLE_DEVICES"
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
    _check_gpus(options.tensor_parallel)
    # A GGUF file has been converted; the other environment need not be able to.
    where = resolve_model(options.model)
    process: EngineProcess = running_engine(
        ProcessOptions(
            model=where,
            name=options.model,
            fingerprint=model_fingerprint(options.model, loading.revision),
            # The commit whose tokenizer this process has.
            revision=None if Path(where).is_dir() else model.revision,
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


def _check_gpus(needed: int) -> None:
    mask = os.environ.get(_MASK)
    leased = None if mask is None else [gpu for gpu in mask.split(",") if gpu.strip()]
    if leased is not None and needed > max(1, len(leased)):
        names = ",".join(map(str, range(needed)))
        raise TraitvecError(
            f"tensor_parallel: {needed} needs {needed} GPUs, but this run has {len(leased)}"
            f' ({_MASK}={mask}); give each run as many, such as TRAITVEC_GPUS="{names}"'
        )
