"""Recognises `traitvec serve-engine`, or interp-engine's server, at `engine_url`."""

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import check_address
from traitvec_core.generation.engine_options import KEY_NAME, EngineOptions
from traitvec_core.generation.interp_client import InterpClient
from traitvec_core.generation.interp_endpoint import Endpoint
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.models.language_model import load_language_model
from traitvec_core.remote.calls import CallError
from traitvec_core.remote.keys import key_from_environment
from traitvec_core.remote.run_async import run_async

__all__ = ["find_interp_server"]

TIMEOUT_S = 10.0


def find_interp_server(options: EngineOptions) -> InterpEngine | None:
    """Return the engine of the server at `options.url`, if it reads activations too.

    Returns:
        None for any other server, and for one that does not answer.

    Raises:
        TraitvecError: If the address or the key is invalid, or the server should read activations
            (`engine_reads`) and does not.
    """
    url = options.url or ""
    try:
        check_address(url, KEY_NAME)
    except ValueError as error:
        raise TraitvecError(f"engine_url {error}") from None
    address = url.rstrip("/").removesuffix("/v1")
    key = key_from_environment(KEY_NAME)
    problem = run_async(_problem(address, key))
    if problem is None:
        model = load_language_model(options.model, **vars(options.loading), has_weights=False)
        endpoint = Endpoint(address, key, KEY_NAME, options.served_name, say=options.say)
        return InterpEngine("server", model, endpoint, batch_size=options.batch_size)
    if options.must_read:
        raise TraitvecError(
            f"engine_reads: true, but {address} does not read activations"
            f" ({problem.removeprefix(address).strip()}); start `traitvec serve-engine` there, or"
            " remove engine_reads"
        )
    return None


async def _problem(address: str, key: str | None) -> str | None:
    """Why this is no interp-engine server; None if it is one, loaded or not."""
    client = InterpClient(address, key, KEY_NAME, TIMEOUT_S)
    try:
        await client.status()
    except CallError as error:
        return error.reason
    finally:
        await client.close()
    return None
