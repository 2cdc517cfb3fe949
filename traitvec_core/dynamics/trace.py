"""Project every token of a prompt and its response on trait vectors, at once or live."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from traitvec_core.dynamics.curves import Values
from traitvec_core.dynamics.pieces import PieceReader
from traitvec_core.dynamics.traced import Curve, Trace
from traitvec_core.dynamics.watched import WatchedVector
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.generation.choice import choose_tokens, numbers_of
from traitvec_core.generation.request import Generated, GenerationEngine
from traitvec_core.generation.transformers_engine import TransformersEngine
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.local_reader import LocalReader, residual_stream_hooks
from traitvec_core.models.reading import Reader

__all__ = ["stream", "trace"]


def trace(
    model: LanguageModel | Reader,
    prompt: str,
    response: str | Sequence[int],
    vectors: Sequence[WatchedVector],
) -> Trace:
    """Project a prompt and a given response in one forward pass.

    Inside `steer`, the steered activations are projected.

    Args:
        model: The model, loaded in this process, or what reads it elsewhere.
        prompt: A rendered prompt; see `LanguageModel.prompt`.
        response: The response's text, or the exact tokens that a model generated.
        vectors: Vectors to project on, one per trait.

    Raises:
        TraitvecError: If a vector does not fit the model, or the text does not fit its context.
    """
    reader = LocalReader(model) if isinstance(model, LanguageModel) else model
    model = reader.language_model
    _check(model, vectors)
    if isinstance(response, str):
        encoded = model.encode_response(prompt, response)
        ids, n_prompt = encoded.ids, encoded.n_prompt
    else:
        prompt_ids = model.encode_prompt(prompt)
        ids, n_prompt = prompt_ids + list(response), len(prompt_ids)
    _check_length(model, len(ids))
    growing = _GrowingTrace(model, prompt, n_prompt, vectors)
    if ids:
        growing.add(ids, reader.hidden(ids, sorted({watched.layer for watched in vectors})))
    return growing.trace()


def stream(
    model: LanguageModel | GenerationEngine,
    prompt: str,
    vectors: Sequence[WatchedVector],
    sampling: Sampling,
    *,
    name: str = "monitor",
) -> Iterator[Trace]:
    """Generate a response, and project it while it grows.

    The response equals that of `generate_texts` for the same name. Hooks are removed between steps.
    An engine outside this process gives the prompt's trace, and then that of the whole response.

    Args:
        model: The model, which may be steered, or an engine that reads.
        prompt: A rendered prompt.
        vectors: Vectors to project on, one per trait.
        sampling: Temperature, top-p, length and seed.
        name: Name of the random stream.

    Yields:
        The trace so far: first of the prompt, then with one more response token each time. The
        end-of-turn token is not part of any trace, because the model does not read it.

    Raises:
        TraitvecError: If a vector does not fit the model, or the text does not fit its context.
    """
    if not isinstance(model, LanguageModel):
        if not isinstance(model, TransformersEngine):
            yield from _written_elsewhere(model, prompt, vectors, sampling, name)
            return
        model = model.language_model
    _check(model, vectors)
    ids = model.encode_prompt(prompt)
    _check_length(model, len(ids) + sampling.max_new_tokens)
    growing = _GrowingTrace(model, prompt, len(ids), vectors)
    numbers = numbers_of([name], sampling)
    ends = set(model.end_token_ids)
    decoder = _CachedDecoder(model)
    new = ids
    for number in range(sampling.max_new_tokens + 1):
        scores, hidden = decoder.read(new)
        growing.add(new, hidden)
        yield growing.trace()
        if number == sampling.max_new_tokens:
            return
        token = int(choose_tokens(scores, numbers[:, number], sampling))
        if token in ends:
            return
        new = [token]


def _written_elsewhere(
    engine: GenerationEngine,
    prompt: str,
    vectors: Sequence[WatchedVector],
    sampling: Sampling,
    name: str,
) -> Iterator[Trace]:
    if engine.reader is None:
        raise TraitvecError(f"engine: {engine.name} only returns texts, and reads no activations")
    yield trace(engine.reader, prompt, [], vectors)
    written: list[Generated] = []
    generate_texts(engine, [name], [prompt], sampling, on_finished=written.extend)
    (response,) = written
    # Without tokens, the text is read, as everywhere.
    tokens = response.response if response.ids is None else response.ids
    yield trace(engine.reader, prompt, tokens, vectors)


class _GrowingTrace:
    """A trace that grows with each forward pass."""

    def __init__(
        self, model: LanguageModel, prompt: str, n_prompt: int, vectors: Sequence[WatchedVector]
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._n_prompt = n_prompt
        self._vectors = vectors
        self._ids: list[int] = []
        self._reader = PieceReader(model)
        self._special = set(model.tokenizer.all_special_ids)
        empty = np.zeros((2, 0))
        self._values = {watched.trait: empty for watched in vectors}

    def add(self, ids: Sequence[int], hidden: Mapping[int, torch.Tensor]) -> None:
        """Add tokens, with their residual stream `[n_tokens, hidden_dim]` at the watched layers."""
        with torch.inference_mode():
            for watched in self._vectors:
                new = _project(hidden[watched.layer], watched.vector)
                self._values[watched.trait] = np.hstack([self._values[watched.trait], new])
        for token in ids:
            if len(self._ids) == self._n_prompt:
                self._reader.close()
            self._reader.add(token)
            self._ids.append(token)

    def trace(self) -> Trace:
        names = self._model.tokenizer.convert_ids_to_tokens(self._ids)
        return Trace(
            prompt=self._prompt,
            token_ids=tuple(self._ids),
            tokens=tuple(map(str, names)),
            n_prompt=self._n_prompt,
            is_response=tuple(
                index >= self._n_prompt and token not in self._special
                for index, token in enumerate(self._ids)
            ),
            pieces=self._reader.pieces,
            curves={w.trait: Curve(w, *self._values[w.trait]) for w in self._vectors},
        )


class _CachedDecoder:
    """Runs the model on new tokens, with the cache of the earlier ones if it keeps any."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ids: list[int] = []
        self._cache: Any = None
        takes_logits = "logits_to_keep" in inspect.signature(model.model.forward).parameters
        self._options = {"logits_to_keep": 1} if takes_logits else {}

    def read(self, ids: list[int]) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """Return the logits after the last token, `[1, vocabulary]`, and the residual stream.

        The residual stream is that of the new tokens, `[n_tokens, hidden_dim]` by layer.
        """
        n_new, hidden = len(ids), dict[int, torch.Tensor]()

        def receive(layer: int, states: torch.Tensor) -> None:
            # A pass without a cache reads all tokens; the last ones are new.
            hidden[layer] = states[0, -n_new:]

        self._ids += ids
        options = dict(self._options)
        if self._cache is None:
            # The first pass, or a model without a reusable cache.
            ids = self._ids
        else:
            options["past_key_values"] = self._cache
        with torch.inference_mode(), residual_stream_hooks(self._model, receive):
            output = cast(Any, self._model.model)(
                input_ids=torch.tensor([ids], device=self._model.device), use_cache=True, **options
            )
        self._cache = getattr(output, "past_key_values", None)
        return cast(torch.Tensor, output.logits[:, -1]), hidden


def _project(hidden: torch.Tensor, vector: torch.Tensor) -> Values:
    """Return projection and cosine, `[2, n_tokens]`, computed in float32 or better."""
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    unit = (vector.double() / vector.double().norm()).to(wide.device, wide.dtype)
    projection = wide @ unit
    # 0 / 0 is NaN: the cosine of a zero state is missing.
    both = torch.stack([projection, projection / wide.norm(dim=-1)])
    return both.cpu().double().numpy()


def _check(model: LanguageModel, vectors: Sequence[WatchedVector]) -> None:
    for watched in vectors:
        what = f"{watched.trait}: {watched.name}"
        if watched.vector.shape != (model.hidden_dim,) or not 0 <= watched.layer < model.n_layers:
            raise TraitvecError(
                f"{what} at layer {watched.layer} with {watched.vector.numel()} dimensions does not"
                f" fit {model.name}, which has layers 0 to {model.n_layers - 1} of"
                f" {model.hidden_dim} dimensions"
            )
    if len({watched.trait for watched in vectors}) < len(vectors):
        raise TraitvecError("a trait has two vectors; pass one vector per trait")


def _check_length(model: LanguageModel, n_tokens: int) -> None:
    limit = model.context_tokens
    if limit is not None and n_tokens > limit:
        raise TraitvecError(
            f"a prompt with its response has {n_tokens:,} tokens, but {model.name} reads at most"
            f" {limit:,}; shorten the prompt, or lower sampling.max_new_tokens"
        )
