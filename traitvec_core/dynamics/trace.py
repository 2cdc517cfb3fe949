"""Project every token of a prompt and its response on trait vectors: read at once, or live."""

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from traitvec_core.dynamics.curves import Values
from traitvec_core.dynamics.pieces import PieceReader
from traitvec_core.dynamics.traced import Curve, Trace
from traitvec_core.dynamics.watched import WatchedVector
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation.choice import choose_tokens, numbers_of
from traitvec_core.models.activations import residual_stream_hooks
from traitvec_core.models.language_model import LanguageModel

__all__ = ["stream", "trace"]


def trace(
    model: LanguageModel,
    prompt: str,
    response: str | Sequence[int],
    vectors: Sequence[WatchedVector],
) -> Trace:
    """Project a prompt and a given response, in one forward pass.

    Hooks that steer the model are respected: what they changed is what is projected.

    Args:
        model: The model.
        prompt: A rendered prompt; see `LanguageModel.prompt`.
        response: Its text, or the very tokens that a model wrote.
        vectors: What to project on, of distinct traits.

    Raises:
        TraitvecError: If a vector does not fit the model, or the text does not fit its context.
    """
    _check(model, vectors)
    if isinstance(response, str):
        encoded = model.encode_response(prompt, response)
        ids, n_prompt = encoded.ids, encoded.n_prompt
    else:
        prompt_ids = model.encode_prompt(prompt)
        ids, n_prompt = prompt_ids + list(response), len(prompt_ids)
    _check_length(model, len(ids))
    whole = _Growing(model, prompt, n_prompt, vectors)

    def read() -> None:
        cast(Any, model.decoder)(
            input_ids=torch.tensor([ids], device=model.device), use_cache=False
        )

    if ids:
        whole.read(ids, read)
    return whole.trace()


def stream(
    model: LanguageModel,
    prompt: str,
    vectors: Sequence[WatchedVector],
    sampling: Sampling,
    *,
    name: str = "monitor",
) -> Iterator[Trace]:
    """Generate a response and project while it grows.

    It is the response that `generate_texts` gives to this name. No hook outlives a step.

    Args:
        model: The model; hooks that steer it are respected.
        prompt: A rendered prompt.
        vectors: What to project on, of distinct traits.
        sampling: Temperature, top-p, length and seed.
        name: Names the random stream.

    Yields:
        The trace so far: of the prompt, then with one more token of the response each time. The
        token that ends a response is never read, so it is in none.

    Raises:
        TraitvecError: If a vector does not fit the model, or the text does not fit its context.
    """
    _check(model, vectors)
    ids = model.encode_prompt(prompt)
    _check_length(model, len(ids) + sampling.max_new_tokens)
    whole = _Growing(model, prompt, len(ids), vectors)
    numbers = numbers_of([name], sampling)
    ends = set(model.end_token_ids)
    reader = _Reader(model)
    new = ids
    for number in range(sampling.max_new_tokens + 1):
        scores = whole.read(new, partial(reader.read, new))
        yield whole.trace()
        if number == sampling.max_new_tokens:
            return
        token = int(choose_tokens(scores, numbers[:, number], sampling))
        if token in ends:
            return
        new = [token]


class _Growing:
    """A trace that grows by what forward passes read."""

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
        self._found = {watched.trait: empty for watched in vectors}

    def read(self, ids: Sequence[int], forward: Any) -> Any:
        """Take in what a forward pass says of tokens that are new; returns what it returned."""
        rows: dict[int, torch.Tensor] = {}

        def receive(row: int, hidden: torch.Tensor) -> None:
            # A pass without a cache reads all tokens; the last ones are new.
            rows[row] = hidden[0, -len(ids) :]

        with torch.inference_mode(), residual_stream_hooks(self._model, receive):
            result = forward()
            for watched in self._vectors:
                new = _project(rows[watched.layer], watched.vector)
                self._found[watched.trait] = np.hstack([self._found[watched.trait], new])
        for token in ids:
            if len(self._ids) == self._n_prompt:
                self._reader.close()
            self._reader.add(token)
            self._ids.append(token)
        return result

    def trace(self) -> Trace:
        names = self._model.tokenizer.convert_ids_to_tokens(self._ids)
        return Trace(
            prompt=self._prompt,
            token_ids=tuple(self._ids),
            tokens=tuple(map(str, names)),
            n_prompt=self._n_prompt,
            is_response=tuple(
                place >= self._n_prompt and token not in self._special
                for place, token in enumerate(self._ids)
            ),
            pieces=self._reader.pieces,
            curves={w.trait: Curve(w, *self._found[w.trait]) for w in self._vectors},
        )


class _Reader:
    """Reads tokens one after the other, with whatever cache the model keeps."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ids: list[int] = []
        self._cache: Any = None
        takes_logits = "logits_to_keep" in inspect.signature(model.model.forward).parameters
        self._options = {"logits_to_keep": 1} if takes_logits else {}

    def read(self, ids: list[int]) -> torch.Tensor:
        """Logits behind the last token, `[1, vocabulary]`."""
        self._ids += ids
        options = dict(self._options)
        if self._cache is None:
            # The first pass, or a model without a cache that could be handed on.
            ids = self._ids
        else:
            options["past_key_values"] = self._cache
        output = cast(Any, self._model.model)(
            input_ids=torch.tensor([ids], device=self._model.device), use_cache=True, **options
        )
        self._cache = getattr(output, "past_key_values", None)
        return cast(torch.Tensor, output.logits[:, -1])


def _project(hidden: torch.Tensor, vector: torch.Tensor) -> Values:
    """Projection and cosine, `[2, n_tokens]`, in float32 or better."""
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    unit = (vector.double() / vector.double().norm()).to(wide.device, wide.dtype)
    projection = wide @ unit
    # 0 / 0 is NaN: a state of length zero has no cosine.
    found = torch.stack([projection, projection / wide.norm(dim=-1)])
    return found.cpu().double().numpy()


def _check(model: LanguageModel, vectors: Sequence[WatchedVector]) -> None:
    for watched in vectors:
        what = f"{watched.trait}: {watched.name}"
        if watched.vector.shape != (model.hidden_dim,) or not 0 <= watched.layer < model.n_layers:
            raise TraitvecError(
                f"{what} at layer {watched.layer} with {watched.vector.numel()} dimensions does not"
                f" fit {model.name}, which has rows 0 to {model.n_layers - 1} of"
                f" {model.hidden_dim}"
            )
    if len({watched.trait for watched in vectors}) < len(vectors):
        raise TraitvecError("one vector of each trait: a trait is named twice")


def _check_length(model: LanguageModel, n_tokens: int) -> None:
    limit = model.context_tokens
    if limit is not None and n_tokens > limit:
        raise TraitvecError(
            f"a prompt with its response comes to {n_tokens:,} tokens, {model.name} reads at most"
            f" {limit:,}: shorten the prompt, or lower sampling.max_new_tokens"
        )
