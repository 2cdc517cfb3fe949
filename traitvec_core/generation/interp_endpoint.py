"""Where an engine is served: waits until it has loaded, and checks that it is the right model."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from traitvec_core.errors import TraitvecError
from traitvec_core.generation.interp_client import InterpClient
from traitvec_core.generation.interp_description import Description
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.remote import calls
from traitvec_core.remote.calls import CallError

__all__ = ["Endpoint", "check_served", "describe_once_loaded", "wait_until_ready"]

_LOADING_S = 3_600.0
POLL_S = 1.0
_SAY_EVERY_S = 15.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class Endpoint:
    """Where the model is served.

    Attributes:
        address: The server, without `/v1`.
        key: Its token.
        key_name: The environment variable of the token, for messages.
        served_name: The model's name there, if it is not the experiment's; None accepts the same.
        ended: Returns why the server's process has ended, or None while it runs; None for a server
            that this process did not start.
        lost: Called when vLLM's engine below the server has died, or did not start, with the error.
        say: Called with a line that the user should see.
    """

    address: str
    key: str | None
    key_name: str
    served_name: str | None = None
    ended: Callable[[], str | None] | None = None
    lost: Callable[[str], None] = lambda error: None
    say: Callable[[str], None] = lambda text: None


async def wait_until_ready(client: InterpClient, end: Endpoint) -> Description:
    """Return what is served, once it is loaded.

    Raises:
        TraitvecError: If the server does not answer, or cannot load its model.
    """
    n_failed = 0
    # A child process may block while it loads, and its end is noticed.
    given_up_at = math.inf if end.ended is not None else time.monotonic() + calls.REACHED_WITHIN_S
    while True:
        reason = end.ended() if end.ended is not None else None
        if reason is not None:
            raise TraitvecError(reason)
        try:
            return await describe_once_loaded(client, end)
        except CallError as error:
            n_failed += 1
            if error.kind == "stop":
                raise TraitvecError(error.reason) from None
            if n_failed >= _ATTEMPTS or time.monotonic() >= given_up_at:
                raise TraitvecError(
                    f"no engine answers at {end.address} ({error.reason}); start it, or check"
                    " engine_url"
                ) from None
        await asyncio.sleep(POLL_S)


async def describe_once_loaded(client: InterpClient, end: Endpoint) -> Description:
    """Return what is served; waits as long as the server says that it is loading.

    Raises:
        CallError: If the server does not answer.
        TraitvecError: If it cannot load its model.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    next_line = started + _SAY_EVERY_S
    while True:
        status, error = await client.status()
        if status == "ready":
            return await client.describe()
        if status == "failed":
            end.lost(error)
            ended = end.ended() if end.ended is not None else None
            raise TraitvecError(ended or f"{end.address} could not load its model: {error}")
        if loop.time() - started > _LOADING_S:
            raise TraitvecError(f"{end.address} has not loaded its model within an hour")
        if loop.time() > next_line:
            next_line = loop.time() + _SAY_EVERY_S
            end.say(f"{end.address} loads its model ({loop.time() - started:.0f} s)")
        await asyncio.sleep(POLL_S)


def check_served(model: LanguageModel, end: Endpoint, served: Description) -> None:
    """Raise if a server has another model than the experiment's."""
    expected = end.served_name or model.name
    if served.model != expected:
        raise TraitvecError(
            f"the server at {end.address} serves {served.model}, not {expected}; set"
            f" engine_model: {served.model} if these are the same weights"
        )
    if None not in (served.revision, model.revision) and served.revision != model.revision:
        raise TraitvecError(
            f"the server at {end.address} serves revision {served.revision} of {model.name},"
            f" not {model.revision}; start it with --revision {model.revision}"
        )
    if (served.n_blocks, served.hidden_dim) != (model.n_blocks, model.hidden_dim):
        raise TraitvecError(
            f"the model at {end.address} has {served.n_blocks} blocks of width"
            f" {served.hidden_dim}, but {model.name} has {model.n_blocks} of"
            f" {model.hidden_dim}: it serves another model"
        )
