"""A client of a server with OpenAI's completions API, and the model's name there."""

from pathlib import Path
from typing import Any, ClassVar

from traitvec_core.generation.engine_options import KEY_NAME
from traitvec_core.remote.answers import object_in
from traitvec_core.remote.calls import REACHED_WITHIN_S, CallError, Calls, StopError
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.sdk_errors import clipped, translate_sdk_errors

__all__ = ["CompletionsServer", "find_served_name"]

_MOST_NAMES_SHOWN = 3
# A gateway may not have this page, or not for this key.
_NO_LIST = {403, 404, 405, 501}


class CompletionsServer(Connection):
    """A client of an OpenAI-compatible server."""

    provider_name = "the server"
    default_address = ""
    sdk_error = ("openai", "OpenAIError")
    role = "model"
    model_setting = "engine_model"
    address_settings: ClassVar = {KEY_NAME: "engine_url"}

    async def open(self, timeout_s: float) -> None:
        """Connect."""
        import openai

        self._client = self.connected(openai, "AsyncOpenAI", timeout_s)

    @translate_sdk_errors
    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for one completion.

        Returns:
            The answer; its first choice has a text, and ended by `stop` or `length`.
        """
        data = object_in(await self._client.post("/completions", body=body, cast_to=str), self)
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            raise CallError("again", "an answer without text")
        if choice.get("finish_reason") not in {"stop", "length"}:
            reason = clipped(str(choice.get("finish_reason")))
            raise CallError("again", f"an answer that ended by {reason!r}")
        return data

    @translate_sdk_errors
    async def models(self) -> list[dict[str, Any]]:
        """Return the served models, each with a name as `id`; empty where there is no list."""
        import openai

        try:
            answer = await self._client.get("/models", cast_to=str)
        except openai.APIStatusError as error:
            if error.status_code in _NO_LIST:
                return []
            raise
        rows = object_in(answer, self).get("data")
        rows = rows if isinstance(rows, list) else []
        return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


async def find_served_name(server: CompletionsServer, calls: Calls, model: str) -> str:
    """Return the name under which a server serves a model.

    It is the model's own name or folder if the server lists it, else the name whose weights the
    server says come from there (vLLM does), else the only name. A server that lists nothing is
    asked for the model by its own name.

    Raises:
        StopError: If the server lists several names and none is the model's.
    """
    try:
        # A list of models needs no GPU: two attempts in the time for a first answer.
        rows = await calls.call(server.models, timeout_s=REACHED_WITHIN_S / 2)
    except CallError:
        return model
    names = list(dict.fromkeys(row["id"] for row in rows))
    for key in ("id", "root"):
        matches = [row["id"] for row in rows if _is_same(row.get(key), model)]
        if matches:
            return str(matches[0])
    # Adapters are listed with the model that they change.
    bases = [row["id"] for row in rows if not row.get("parent")]
    if len(names) == 1 or len(bases) == 1:
        return str((bases or names)[0])
    if not names:
        return model
    shown = ", ".join(clipped(name) for name in names[:_MOST_NAMES_SHOWN])
    rest = f" and {len(names) - _MOST_NAMES_SHOWN} more" if len(names) > _MOST_NAMES_SHOWN else ""
    raise StopError(
        f"engine_url {server.server_name} serves {shown}{rest}, none called {model!r}: set"
        " engine_model to the name that the model has there"
    )


def _is_same(name: Any, model: str) -> bool:
    """Whether a server's name for a model, or its folder there, is our name for it."""
    if not isinstance(name, str):
        return False
    if name == model:
        return True
    folder = Path(model).expanduser()
    return folder.exists() and name.startswith("/") and Path(name) == folder.resolve()
