"""`python -m traitvec_core.serving`: load one model, and serve it. See `traitvec serve-engine`."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.generation.engine_options import KEY_NAME

__all__ = ["main"]

# Traits seldom need more, and the key-value cache of a long context may not fit.
_MAX_MODEL_LEN_GPU = 8_192
_MAX_MODEL_LEN_CPU = 2_048
_ROWS_GPU = 256
_ROWS_CPU = 32
# Of the memory that is free when the engine starts: other processes may use the rest.
_SHARE_OF_FREE = 0.9
_END_S = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal, or until vLLM's engine process dies; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return _serve(options)
    except TraitvecError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # what the caller shows
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m traitvec_core.serving", description=__doc__)
    parser.add_argument("--model", required=True, help="hub id or folder")
    parser.add_argument("--name", help="the model, as experiments name it; default: --model")
    parser.add_argument("--revision")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--backend", default="vllm", choices=["vllm", "eager"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900, help="0 takes a free one")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--calls-at-once", type=int)
    parser.add_argument(
        "--memory-share", type=float, help="of a GPU's memory; default: 0.9 of what is free"
    )
    parser.add_argument(
        "--insecure-no-auth", action="store_true", help="let every machine in, without a key"
    )
    parser.add_argument("--port-file", type=Path, help="where to write the port, once it is bound")
    parser.add_argument(
        "--end-with-stdin", action="store_true", help="end when standard input closes"
    )
    return parser


def _serve(options: argparse.Namespace) -> int:
    token = os.environ.get(KEY_NAME, "").strip() or None
    # A bound socket: nobody else can take the port while the model loads.
    listening = _listen(options.host, options.port)
    host, port = listening.getsockname()[:2]
    try:
        import uvicorn
        from interp_engine.server.config import is_loopback

        from traitvec_core.serving.app import build_app
    except ImportError as error:
        raise TraitvecError(
            f"{error}: this Python lacks it; run `{sys.executable} -m pip install"
            " 'interp-engine[vllm,server]'`, or set TRAITVEC_VLLM_PYTHON to one that has it"
        ) from None
    if token is None and not is_loopback(options.host) and not options.insecure_no_auth:
        raise TraitvecError(
            f"--host {options.host} lets other machines in, and {KEY_NAME} is not set: set it here"
            " and where experiments run, or give --insecure-no-auth"
        )
    served = _served(options)
    calls_at_once = _calls_at_once(options)
    app = build_app(served, options.host, token, calls_at_once)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    if options.end_with_stdin:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if options.port_file:
        options.port_file.write_text(str(port))
    else:
        shown = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(  # noqa: T201
            f"serving {served.name} at {shown}; put into experiment.yaml:\n"
            f"engine: server\nengine_url: {shown}\nengine_reads: true",
            flush=True,
        )
    try:
        server.run(sockets=[listening])
    finally:
        _end_children()
    return 1 if served.is_dead else 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise TraitvecError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host"
        ) from None
    return listening


def _served(options: argparse.Namespace) -> Any:
    from traitvec_core.models.files import LoadOptions
    from traitvec_core.models.language_model import load_language_model
    from traitvec_core.models.loading import choose_dtype
    from traitvec_core.serving.app import Served

    described = load_language_model(options.model, revision=options.revision, has_weights=False)
    path = _folder(options.model, described.revision)
    dtype = str(choose_dtype(LoadOptions(dtype=options.dtype), described.model.config))
    dtype = dtype.removeprefix("torch.")
    limit = described.context_tokens
    usual = _MAX_MODEL_LEN_GPU if _has_gpu() else _MAX_MODEL_LEN_CPU
    longest = options.max_model_len or min(usual, limit or usual)
    if limit is not None and longest > limit:
        raise TraitvecError(
            f"max_model_len {longest:,} is more than {options.name or options.model} can read"
            f" ({limit:,} tokens); lower it"
        )

    def load() -> Any:
        if options.backend == "eager":
            return _load_eager(path, dtype)
        return _load_vllm(path, dtype, longest, options)

    return Served(
        options.name or options.model,
        path,
        described.revision,
        dtype,
        options.backend,
        longest,
        described.hidden_dim,
        described.vocabulary_size,
        load,
    )


def _load_vllm(path: str, dtype: str, max_model_len: int, options: argparse.Namespace) -> Any:
    from traitvec_core.serving.model import MeansModel
    from traitvec_core.serving.worker import SERVER_PID

    rows = _calls_at_once(options)
    extra: dict[str, Any] = {"max_num_seqs": rows}
    os.environ[SERVER_PID] = str(os.getpid())
    # Not fork: vLLM's engine would keep the listening socket open when this process is killed.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if not _has_gpu():
        # On a CPU, vLLM fails at a request with a seed whose prompt is split over two steps.
        extra["max_num_batched_tokens"] = rows * max_model_len
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return MeansModel(
        path,
        dtype=dtype,
        tensor_parallel_size=options.tensor_parallel,
        max_model_len=max_model_len,
        gpu_memory_utilization=options.memory_share or _share_of_gpu(),
        trust_remote_code=False,
        extra_vllm_kwargs=extra,
    )


def _load_eager(path: str, dtype: str) -> Any:
    from interp_engine import load_model

    from traitvec_core.serving.model import EagerMeans

    model = load_model(path, backend="eager", dtype=dtype, trust_remote_code=False)
    # interp-engine's app uses the model; this app, only the means.
    model.means = EagerMeans(model).means
    return model


def _folder(name: str, revision: str | None) -> str:
    """Return the folder of a model's files; those of a hub id are downloaded."""
    from traitvec_core.models.files import resolve_model

    where = resolve_model(name)
    if Path(where).is_dir():
        return where
    from huggingface_hub import snapshot_download

    # The same commit for weights, configuration and tokenizer; no pickles.
    return snapshot_download(
        where,
        revision=revision,
        allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"],
    )


def _calls_at_once(options: argparse.Namespace) -> int:
    return options.calls_at_once or (_ROWS_GPU if _has_gpu() else _ROWS_CPU)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _share_of_gpu() -> float:
    """Return vLLM's share of the GPU's total memory; vLLM fails if that much is not free."""
    import torch

    if not torch.cuda.is_available():
        return _SHARE_OF_FREE
    free, total = torch.cuda.mem_get_info()
    return round(_SHARE_OF_FREE * free / total, 3)


def _end_with_parent() -> None:
    """End when standard input closes: also when the parent was killed."""
    while sys.stdin.buffer.read(1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END_S)
    _end_children()
    os._exit(1)


def _end_children() -> None:
    """End vLLM's processes, also those that were still starting."""
    # vLLM needs it, too.
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


if __name__ == "__main__":
    sys.exit(main())
