"""Generates with a server that offers OpenAI's completions API: vLLM, SGLang, llama.cpp."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling, check_address
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.request import Generated, Request, refuse_interventions
from traitvec_core.generation.text import read_tokens, split_thinking
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.language_model import load_language_model
from traitvec_core.remote.calls import AdaptiveLimit, CallError, Calls, StopError, for_each
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.keys import key_from_environment
from traitvec_core.remote.run_async import run_async
from traitvec_core.remote.sdk_errors import translate_sdk_errors

__all__ = ["KEY_NAME", "ServerEngine"]

KEY_NAME = "GENERATION_API_KEY"
# The server batches calls; this many keep one GPU busy.
_CALLS_AT_ONCE = 64
_TIMEOUT_S = 600.0
# Options that other servers than OpenAI's accept. When left out, the server takes them from the
# model's generation config or from its own defaults.
_EXTRAS: dict[str, Any] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
# vLLM and SGLang return the generated tokens; other servers ignore or refuse the option.
_IDS: dict[str, Any] = {"return_token_ids": True}


@dataclass(frozen=True)
class _Form:
    """How prompts are sent so that the server reads exactly their tokens.

    Attributes:
        extras: Options beyond those of OpenAI.
        bos: Whether the text begins with BOS.
    """

    extras: Mapping[str, Any]
    bos: bool


class ServerEngine:
    """Generates through `/v1/completions`, with the rendered prompt as text.

    The server samples, with a seed per row. A first request for a single token shows, by the number
    of prompt tokens that the server counts, whether it adds BOS to a prompt. A server that reads
    other tokens than those of the prompt is an error.

    Args:
        model: The model's name, here and on the server.
        url: The server's address, including `/v1`.
        loading: Options for loading the tokenizer.
        batch_size: Concurrent calls; None is 64.
        timeout_s: Timeout of one call.

    Raises:
        TraitvecError: If the address or the key is invalid, or the tokenizer cannot be loaded.
    """

    name = "server"
    key_name = KEY_NAME
    reader = None

    def __init__(
        self,
        model: str,
        url: str,
        loading: LoadOptions = LoadOptions(),
        *,
        batch_size: int | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        try:
            check_address(url, KEY_NAME)
        except ValueError as error:
            raise TraitvecError(f"engine_url {error}") from None
        key = key_from_environment(KEY_NAME)
        self.language_model = load_language_model(model, **vars(loading), has_weights=False)
        self._server = _Server(model, key, KEY_NAME, url.rstrip("/"))
        self._calls_at_once = batch_size or _CALLS_AT_ONCE
        self._timeout_s = timeout_s

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
        if missing:
            run_async(self._generate(missing, sampling, on_finished))

    @property
    def as_loaded(self) -> dict[str, Any]:
        """See `GenerationEngine`: how the server loads the weights is not known here."""
        return {"model_revision": self.language_model.revision}

    def close(self) -> None:
        """No-op: connections end with each call of `generate`."""

    async def _generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        on_finished: Callable[[list[Generated]], None],
    ) -> None:
        calls = Calls(AdaptiveLimit(self._calls_at_once), self._timeout_s, self._server.server_name)
        await self._server.open(self._timeout_s)
        try:
            form = await self._find_form(calls, requests[0], sampling)

            async def work(request: Request) -> None:
                body = self._body(request, sampling, form)
                try:
                    data = await calls.call(partial(self._server.complete, body))
                except CallError as error:
                    raise StopError(
                        f"{request.name}: {self._server.server_name} gave no response"
                        f" ({error.reason}); finished work is kept, run again to continue"
                    ) from None
                self._check_count(data, request)
                on_finished([self._read(data, request)])

            await for_each(deque(requests), work, self._calls_at_once)
        finally:
            await self._server.close()

    async def _find_form(self, calls: Calls, request: Request, sampling: Sampling) -> _Form:
        """Find the form of requests that the server reads correctly, by asking for one token."""
        has_bos = self._has_bos(request)
        with_bos = dict.fromkeys((has_bos, False))
        levels: tuple[Mapping[str, Any], ...] = ({**_EXTRAS, **_IDS}, _EXTRAS, {})
        forms = [_Form(extras, bos) for extras in levels for bos in with_bos]
        # Last, because without extras the server may add a second BOS.
        forms.sort(key=lambda form: form.bos and not form.extras)
        counts: list[int] = []
        refusal: CallError | None = None
        while forms:
            form = forms.pop(0)
            body = self._body(request, sampling.model_copy(update={"max_new_tokens": 1}), form)
            try:
                data = await calls.call(partial(self._server.complete, body))
            except CallError as error:
                refusal = error
                if form.extras:
                    # It refuses one of these options.
                    forms = [left for left in forms if left.extras != form.extras]
                    continue
                break
            count = _number(data, "prompt_tokens")
            if count == len(request.ids):
                return form
            counts += [] if count is None else [count]
        if not counts and refusal is not None:
            raise StopError(f"{self._server.server_name} refuses completions: {refusal.reason}")
        if not counts:
            raise StopError(
                f"{self._server.server_name} does not report prompt tokens (usage): whether it"
                " adds a second BOS is unknown; use a server that reports them"
            )
        raise StopError(
            f"{self._server.server_name} reads {min(counts)} tokens where the prompt has"
            f" {len(request.ids)}: it serves another model than {self._server.name!r}, or adds"
            " its own template; engine: server needs plain completions"
        )

    def _body(self, request: Request, sampling: Sampling, form: _Form) -> dict[str, Any]:
        prompt = request.prompt
        if self._has_bos(request):
            bos = str(self.language_model.tokenizer.bos_token)
            prompt = (bos if form.bos else "") + prompt.removeprefix(bos)
        body: dict[str, Any] = {
            "model": self._server.name,
            # A lone surrogate cannot be encoded.
            "prompt": prompt.encode("utf-8", "replace").decode(),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed_of(request.stream_name, sampling.seed),
        }
        if form.extras:
            body["extra_body"] = {
                **form.extras,
                "stop_token_ids": self.language_model.end_token_ids,
                # With BOS in the text the server must add none; without, its tokenizer decides.
                "add_special_tokens": not form.bos and self._has_bos(request),
            }
        return body

    def _has_bos(self, request: Request) -> bool:
        return request.ids[:1] == [self.language_model.tokenizer.bos_token_id]

    def _check_count(self, data: Any, request: Request) -> None:
        count = _number(data, "prompt_tokens")
        if count is not None and count != len(request.ids):
            raise StopError(
                f"{request.name}: {self._server.server_name} reads {count} tokens where the prompt"
                f" has {len(request.ids)}: its tokenizer is not that of {self._server.name!r}"
            )

    def _read(self, data: Any, request: Request) -> Generated:
        choice = data.choices[0]
        finish_reason = "length" if choice.finish_reason == "length" else "stop"
        generated = self._read_ids(choice, request)
        if generated is not None:
            return replace(generated, finish_reason=finish_reason)
        thinking, response = split_thinking(choice.text or "", request.prompt)
        tokens = _number(data, "completion_tokens")
        if tokens is None:
            tokens = len(self.language_model.tokenizer(choice.text or "")["input_ids"])
        return Generated(
            name=request.name,
            response=response,
            thinking=thinking,
            prompt_tokens=len(request.ids),
            response_tokens=tokens,
            finish_reason=finish_reason,
        )

    def _read_ids(self, choice: Any, request: Request) -> Generated | None:
        """Read the returned token ids; None where there are none, or they are not the text's."""
        ids = getattr(choice, "token_ids", None)
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            return None
        generated = read_tokens(self.language_model, request, ids)
        if generated.ids is None:
            return None
        tokenizer = cast(Any, self.language_model.tokenizer)
        text = tokenizer.decode(list(generated.ids), skip_special_tokens=True)
        return generated if _bare(text) == _bare(choice.text) else None


class _Server(Connection):
    """A client of an OpenAI-compatible server."""

    provider_name = "the server"
    default_address = ""
    sdk_error = ("openai", "OpenAIError")
    role = "model"
    settings = "model and engine_url"

    async def open(self, timeout_s: float) -> None:
        """Connect."""
        import openai

        self._client = self.connected(openai.AsyncOpenAI, openai.DefaultAioHttpClient(), timeout_s)

    @translate_sdk_errors
    async def complete(self, body: dict[str, Any]) -> Any:
        """Ask for one completion."""
        data = await self._client.completions.create(**body)
        choices = getattr(data, "choices", None)
        if not choices or not isinstance(getattr(choices[0], "text", None), str):
            raise CallError("again", "an answer without text")
        if choices[0].finish_reason not in {"stop", "length"}:
            raise CallError("again", f"an answer that ended by {choices[0].finish_reason!r}")
        return data


def _bare(text: str) -> str:
    """Return a text without what servers decode differently: its ends, and half a character."""
    return text.rstrip("\ufffd").strip()


def _number(data: Any, name: str) -> int | None:
    """Return a number of tokens; None when the server reports none."""
    number = getattr(getattr(data, "usage", None), name, None)
    return number if isinstance(number, int) else None
