"""`traitvec serve-engine`: one model on vLLM, for all experiments and machines that may use it."""

import os
import sys
from typing import Annotated

import typer

from traitvec_core.errors import TraitvecError
from traitvec_dagster.cli.terminal import Root, open_project

__all__ = ["serve_engine"]


def serve_engine(
    model: Annotated[str, typer.Option(help="Hub id, folder, GGUF file, or `embedded`.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub; the commit is recorded.")
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; other machines need GENERATION_API_KEY."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8900,
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; as in experiment.yaml.")
    ] = "auto",
    tensor_parallel: Annotated[
        int, typer.Option(min=1, help="GPUs over which the weights are split.")
    ] = 1,
    max_model_len: Annotated[
        int | None,
        typer.Option(min=16, help="Longest prompt with its response. Default: 8192; CPU: 2048."),
    ] = None,
    calls_at_once: Annotated[
        int | None, typer.Option(min=1, help="Requests at once. Default: 256; CPU: 32.")
    ] = None,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", help="Let every machine in, without a key.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Load a model on vLLM once, and keep it for generating, reading activations and steering.

    Experiments use it with `engine: server`, `engine_url: http://HOST:PORT` and `engine_reads:
    true`. vLLM may be installed in another environment: set TRAITVEC_VLLM_PYTHON to its Python.
    If GENERATION_API_KEY is set, here and where experiments run, every request must bear it.

    Example: traitvec serve-engine --model google/gemma-2-2b-it
    """
    from traitvec_core.generation.engine_options import KEY_NAME
    from traitvec_core.generation.engine_process import (
        ProcessOptions,
        check_vllm,
        serving_environment,
        vllm_python,
    )
    from traitvec_core.models.files import check_model
    from traitvec_core.remote.keys import key_from_environment

    # Reads .env, where the key may be.
    open_project(experiments_dir)
    check_model(model)
    check_vllm()
    options = ProcessOptions(
        _folder(model), model, revision=revision, dtype=dtype, tensor_parallel=tensor_parallel,
        max_model_len=max_model_len, calls_at_once=calls_at_once,
    )  # fmt: skip
    arguments = [*options.arguments, "--host", host, "--port", str(port)]
    if insecure_no_auth:
        arguments.append("--insecure-no-auth")
    environment = serving_environment(key_from_environment(KEY_NAME))
    python = vllm_python()
    sys.stdout.flush()
    try:
        os.execve(  # noqa: S606  # the owner's own Python
            python, [python, "-m", "traitvec_core.serving", *arguments], environment
        )
    except OSError as error:
        raise TraitvecError(f"{python} cannot be run: {error.strerror}") from None


def _folder(model: str) -> str:
    """Return the folder of a model, or its hub id; a GGUF file is converted here."""
    from traitvec_core.models.files import resolve_model
    from traitvec_core.models.gguf_file import find_gguf

    file = find_gguf(model)
    if file:
        from traitvec_core.models.gguf_conversion import convert_gguf

        return str(convert_gguf(file))
    return resolve_model(model)
