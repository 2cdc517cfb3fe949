"""Generates with a server that offers OpenAI's completions API: vLLM, SGLang, llama.cpp."""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling, check_address
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.completion_answer import MOST_PROMPT_TOKENS, read_completion
from traitvec_core.generation.completions_server import (
    CompletionsServer,
    find_served_name,
)
from traitvec_core.generation.engine_options import KEY_NAME
from traitvec_core.generation.request import Generated, Request, refuse_interventions
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.language_model import load_language_model
from traitvec_core.remote.adaptive_limit import AdaptiveLimit
from traitvec_core.remote.answers import token_count
from traitvec_core.remote.calls import (
    REACHED_WITHIN_S,
    CallError,
    Calls,
    ServerGoneError,
    StopError,
    for_each,
)
from traitvec_core.remote.keys import key_from_environment
from traitvec_core.remote.run_async import run_async

__all__ = ["ServerEngine"]

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
        has_seed: Whether each request has its own seed.
    """

    extras: Mapping[str, Any]
    bos: bool
    has_seed: bool = True


class ServerEngine:
    """Generates through `/v1/completions`, with the rendered prompt as text.

    The server samples, with a seed per row where it takes one. A first request for a single token
    shows, by the number of prompt tokens that the server counts, whether it adds BOS to a prompt. A
    server that reads other tokens than those of the prompt is an error.

    Args:
        model: The model's name.
        url: The server's address, including `/v1`.
        loading: Options for loading the tokenizer.
        served_name: The model's name on the server; None finds it in the server's list.
        batch_size: Concurrent calls; None is 64.
        timeout_s: Timeout of one call.
        say: Called with a line that the user should see while the server generates.

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
        served_name: str | None = None,
        batch_size: int | None = None,
        timeout_s: float = _TIMEOUT_S,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        try:
            check_address(url, KEY_NAME)
        except ValueError as error:
            raise TraitvecError(f"engine_url {error}") from None
        key = key_from_environment(KEY_NAME)
        self.language_model = load_language_model(model, **vars(loading), has_weights=False)
        self._model = model
        self._served_name = served_name
        self._server = CompletionsServer(served_name or model, key, KEY_NAME, url.rstrip("/"))
        self._calls_at_once = batch_size or _CALLS_AT_ONCE
        self._timeout_s = timeout_s
        self._say = say
        self._has_answered = False
        self._has_seeds = True

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
        return {
            "model_revision": self.language_model.revision,
            "engine_model": self._server.name,
            "has_seeds": self._has_seeds,
        }

    def close(self) -> None:
        """No-op: connections end with each call of `generate`."""

    async def _generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        on_finished: Callable[[list[Generated]], None],
    ) -> None:
        calls = Calls(
            AdaptiveLimit(self._calls_at_once), self._timeout_s, self._server.server_name,
            self._server.address_setting, self._say, self._has_answered,
        )  # fmt: skip
        n_finished, most = 0, sampling.max_new_tokens
        await self._server.open(self._timeout_s)
        try:
            await self._find_name(calls)
            form = await self._find_form(calls, requests[0], sampling)

            async def work(request: Request) -> None:
                nonlocal n_finished
                body = self._body(request, sampling, form)

                async def once() -> Generated:
                    data = await self._server.complete(body)
                    return read_completion(
                        data, request, most, most * self._longest_token,
                        self.language_model, self._server,
                    )  # fmt: skip

                try:
                    generated = await calls.call(once)
                except CallError as error:
                    raise StopError(
                        f"{request.name}: {self._server.server_name} gave no response"
                        f" ({error.reason}); finished work is kept, run again to continue"
                    ) from None
                n_finished += 1
                on_finished([generated])

            await for_each(deque(requests), work, self._calls_at_once)
        except ServerGoneError as error:
            if n_finished or not self._has_seeds:
                raise
            # It answered the request for one token, and perhaps died of the first real ones.
            raise ServerGoneError(
                f"{self._server.server_name} died before a response was finished; read its log"
                " (vLLM on a CPU needs --max-num-batched-tokens 65536: docs/troubleshooting.md)"
                " and restart it, or check engine_url"
            ) from error
        finally:
            self._has_answered = calls.has_answered
            await self._server.close()

    async def _find_name(self, calls: Calls) -> None:
        if self._served_name is not None:
            return
        name = await find_served_name(self._server, calls, self._model)
        if name != self._model:
            self._say(
                f"{self._server.server_name} serves {name!r}, which is taken for {self._model!r};"
                " set engine_model if it is another model"
            )
        self._served_name = self._server.name = name

    async def _find_form(self, calls: Calls, request: Request, sampling: Sampling) -> _Form:
        """Find the form of requests that the server reads correctly, by asking for one token."""
        try:
            form = await self._find_form_with(calls, request, sampling, has_seed=self._has_seeds)
        except CallError as error:
            if not self._has_seeds or not re.search(r"\bseeds?\b", error.complaint, re.IGNORECASE):
                raise StopError(_no_completions(self._server, error)) from None
            # Only now: a complaint about another option may quote the request, seed and all.
            self._has_seeds = False
            if sampling.temperature > 0:
                self._say(
                    f"{self._server.server_name} takes no seed: the same run again gives other"
                    " responses"
                )
            try:
                form = await self._find_form_with(calls, request, sampling, has_seed=False)
            except CallError as again:
                raise StopError(_no_completions(self._server, again)) from None
        return form

    async def _find_form_with(
        self, calls: Calls, request: Request, sampling: Sampling, *, has_seed: bool
    ) -> _Form:
        has_bos = self._has_bos(request)
        with_bos = dict.fromkeys((has_bos, False))
        levels: tuple[Mapping[str, Any], ...] = ({**_EXTRAS, **_IDS}, _EXTRAS, {})
        forms = [_Form(extras, bos, has_seed) for extras in levels for bos in with_bos]
        # Last, because without extras the server may add a second BOS.
        forms.sort(key=lambda form: form.bos and not form.extras)
        counts: list[int] = []
        refusal: CallError | None = None
        while forms:
            form = forms.pop(0)
            body = self._body(request, sampling.model_copy(update={"max_new_tokens": 1}), form)
            try:
                timeout_s = self._timeout_s if calls.has_answered else REACHED_WITHIN_S
                data = await calls.call(
                    partial(self._server.complete, body), timeout_s=min(timeout_s, self._timeout_s)
                )
                count = token_count(data.get("usage"), "prompt_tokens", MOST_PROMPT_TOKENS)
            except CallError as error:
                refusal = error
                if form.extras:
                    # It refuses one of these options.
                    forms = [left for left in forms if left.extras != form.extras]
                    continue
                break
            if count == len(request.ids):
                return form
            counts += [] if count is None else [count]
        if not counts and refusal is not None:
            raise refusal
        if not counts:
            raise StopError(
                f"{self._server.server_name} does not report prompt tokens (usage): whether it"
                " adds a second BOS is unknown; set engine_url to a server that reports them"
            )
        raise StopError(
            f"{self._server.server_name} reads {min(counts)} tokens where the prompt has"
            f" {len(request.ids)}: {self._server.name!r} is another model (engine_model), or the"
            " server adds its own template"
        )

    @cached_property
    def _longest_token(self) -> int:
        """The most characters that one token stands for."""
        return max(map(len, self.language_model.tokenizer.get_vocab()))

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
        }
        if form.has_seed:
            body["seed"] = seed_of(request.stream_name, sampling.seed)
        if form.extras:
            body |= {
                **form.extras,
                "stop_token_ids": self.language_model.end_token_ids,
                # With BOS in the text the server must add none; without, its tokenizer decides.
                "add_special_tokens": not form.bos and self._has_bos(request),
            }
        return body

    def _has_bos(self, request: Request) -> bool:
        return request.ids[:1] == [self.language_model.tokenizer.bos_token_id]


def _no_completions(server: CompletionsServer, error: CallError) -> str:
    return f"{server.server_name} refuses completions: {error.reason}; check {server.settings}"
