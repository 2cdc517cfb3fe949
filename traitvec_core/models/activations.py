"""Capture the residual stream at every layer, averaged over response tokens.

Layer k is the residual stream after decoder block k, counted from 1; layer 0 is the embedding
output, the input of block 1. The last layer is captured before the final norm, by a hook on the
last block: `hidden_states[-1]` of transformers is after the norm, the wrong space for steering.
"""

from collections.abc import Callable, Sequence
from typing import overload

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import Encoded, LanguageModel
from traitvec_core.models.local_reader import LocalReader
from traitvec_core.models.positions import check_position, first_tokens
from traitvec_core.models.reading import Reader, Reading
from traitvec_core.models.response_ids import ResponseIds

__all__ = ["DEFAULT_POSITION", "capture_means", "pack"]

DEFAULT_POSITION = "response_mean"

Ids = Sequence[int] | ResponseIds | None


@overload
def capture_means(
    model: LanguageModel | Reader,
    texts: Sequence[tuple[str, str]],
    *,
    response_ids: Sequence[Ids] | None = None,
    positions: None = None,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = ...,
) -> torch.Tensor: ...


@overload
def capture_means(
    model: LanguageModel | Reader,
    texts: Sequence[tuple[str, str]],
    *,
    response_ids: Sequence[Ids] | None = None,
    positions: Sequence[str],
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = ...,
) -> dict[str, torch.Tensor]: ...


def capture_means(
    model: LanguageModel | Reader,
    texts: Sequence[tuple[str, str]],
    *,
    response_ids: Sequence[Ids] | None = None,
    positions: Sequence[str] | None = None,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return the mean residual stream over each response's tokens, in the context of its prompt.

    Padding, prompt, BOS and end-of-turn tokens are left out of the means. Sums are in float32 or
    better.

    Args:
        model: The model, loaded in this process, or what reads it elsewhere.
        texts: (prompt, response) pairs.
        response_ids: For each text, the token ids that were generated as its response, without the
            end token; they are read instead of the response's text. None where they are unknown:
            the text is tokenised. With thinking before the answer, a `ResponseIds` (in
            `traitvec_core.models.response_ids`) says where the answer begins; the thinking is
            context and left out of the means.
        positions: Which tokens to average, all from the same forward pass. `response_mean` is the
            default; `response_first_<k>` is the mean over the first k response tokens; `prompt_avg`
            is the mean over the prompt's tokens, except special ones; `prompt_last` is the prompt's
            last token, special or not, after which the response begins.
        batch_size: Texts per batch; by default, as many as fit a budget of tokens.
        on_batch: Called with the number of texts finished so far.

    Returns:
        float32 `[n_texts, n_layers, hidden_dim]` on the CPU; with `positions`, one such tensor by
        position. A text without any such tokens is NaN: missing, not zero.

    Raises:
        TraitvecError: If a position is unknown, or a text is too long for the model or, even alone,
            for memory.
        ValueError: If there are not as many `response_ids` as texts.
    """
    reader = LocalReader(model) if isinstance(model, LanguageModel) else model
    model = reader.language_model
    names = tuple(positions) if positions is not None else (DEFAULT_POSITION,)
    rules = [_position(name) for name in names]
    special = set(model.tokenizer.all_special_ids)
    generated = response_ids if response_ids is not None else [None] * len(texts)
    readings: dict[int, Reading] = {}
    for i, ((prompt, response), ids) in enumerate(zip(texts, generated, strict=True)):
        encoded = model.encode_response(prompt, response, _as_response_ids(ids))
        counted = [rule(encoded, special) for rule in rules]
        if any(counted):
            readings[i] = Reading(encoded.ids, counted)
    _check_lengths(model, [len(reading.ids) for reading in readings.values()])
    result = torch.full((len(names), len(texts), model.n_layers, model.hidden_dim), torch.nan)
    if readings:
        result[:, list(readings)] = reader.means(
            list(readings.values()), batch_size=batch_size, on_batch=on_batch
        )
    by_position = dict(zip(names, result, strict=True))
    return by_position if positions is not None else by_position[DEFAULT_POSITION]


def pack(activations: torch.Tensor) -> torch.Tensor:
    """Return activations as float16 if that loses nothing, else as float32.

    float16 loses a value that overflows, or one that becomes subnormal (below 2^-14) although it is
    not negligible compared with the largest of its row.
    """
    half = activations.half()
    if not torch.isfinite(half).all():
        return activations.float()
    size = activations.abs()
    is_relevant = size > 1e-4 * size.amax(dim=-1, keepdim=True)
    if bool(((size < 2.0**-14) & (size > 0) & is_relevant).any()):
        return activations.float()
    return half


# -- which tokens -----------------------------------------------------------------------------

_Tokens = list[int]
_Rule = Callable[[Encoded, set[int]], _Tokens]


def _position(name: str) -> _Rule:
    """Return the function from an encoded text and special ids to the indices to average."""
    try:
        check_position(name)
    except ValueError as error:
        raise TraitvecError(str(error)) from None
    if name == DEFAULT_POSITION:
        return lambda item, special: _response(item)
    if name == "prompt_last":
        return lambda item, special: [item.n_prompt - 1] if item.n_prompt else []
    if name == "prompt_avg":
        return lambda item, special: [
            index for index in range(item.n_prompt) if item.ids[index] not in special
        ]
    count = first_tokens(name)
    return lambda item, special: _response(item)[:count]


def _as_response_ids(ids: Ids) -> ResponseIds | None:
    return ids if ids is None or isinstance(ids, ResponseIds) else ResponseIds(tuple(ids))


def _response(item: Encoded) -> _Tokens:
    return [index for index, is_response in enumerate(item.is_response) if is_response]


def _check_lengths(model: LanguageModel, lengths: list[int]) -> None:
    limit = model.context_tokens
    if limit is not None and lengths and max(lengths) > limit:
        raise TraitvecError(
            f"{model.name} reads at most {limit:,} tokens, but a prompt with its response has"
            f" {max(lengths):,}; shorten the instructions or sampling.max_new_tokens"
        )
