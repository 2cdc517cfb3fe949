"""Capture the residual stream at every layer, averaged over response tokens.

Layer k is the residual stream after decoder block k, counted from 1; layer 0 is the embedding
output, the input of block 1. The last layer is captured before the final norm, by a hook on the
last block: `hidden_states[-1]` of transformers is after the norm, the wrong space for steering.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast, overload

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import Encoded, LanguageModel
from traitvec_core.models.memory import is_out_of_memory, release_memory
from traitvec_core.models.positions import check_position, first_tokens
from traitvec_core.models.response_ids import ResponseIds

__all__ = [
    "DEFAULT_POSITION",
    "BatchLimit",
    "capture_means",
    "next_batch",
    "pack",
    "residual_stream_hooks",
    "sum_counted",
]

DEFAULT_POSITION = "response_mean"

# Tokens of each text that are summed at once. With a half-precision model, only these exist as a
# float32 copy at a time.
_TOKENS_AT_ONCE = 128
# Once a batch has enough tokens to keep the hardware busy, it takes no text shorter than this share
# of its longest one: padding would cost more than another pass.
_MIN_LENGTH_SHARE = 0.9

Receive = Callable[[int, torch.Tensor], None]
Ids = Sequence[int] | ResponseIds | None


@overload
def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    response_ids: Sequence[Ids] | None = None,
    positions: None = None,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = ...,
) -> torch.Tensor: ...


@overload
def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    response_ids: Sequence[Ids] | None = None,
    positions: Sequence[str],
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = ...,
) -> dict[str, torch.Tensor]: ...


def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    response_ids: Sequence[Ids] | None = None,
    positions: Sequence[str] | None = None,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return the mean residual stream over each response's tokens, in the context of its prompt.

    Padding, prompt, BOS and end-of-turn tokens are left out of the means. Sums are in float32 or
    better. Memory beyond the forward pass is texts × layers × hidden_dim, however long the texts
    are. A batch that runs out of memory is halved and repeated; finished batches are kept.

    Args:
        model: The model.
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
    names = tuple(positions) if positions is not None else (DEFAULT_POSITION,)
    rules = [_position(name) for name in names]
    special = set(model.tokenizer.all_special_ids)
    generated = response_ids if response_ids is not None else [None] * len(texts)
    encoded = [
        model.encode_response(prompt, response, _as_response_ids(ids))
        for (prompt, response), ids in zip(texts, generated, strict=True)
    ]
    chosen = [[rule(item, special) for rule in rules] for item in encoded]
    usable = [i for i, tokens in enumerate(chosen) if any(tokens)]
    _check_lengths(model, [len(encoded[i].ids) for i in usable])

    result = torch.full((len(names), len(texts), model.n_layers, model.hidden_dim), torch.nan)
    # Longest first: if they fit into memory, the others do.
    waiting = sorted(usable, key=lambda i: (-len(encoded[i].ids), i))
    limit = BatchLimit.of(model, batch_size)
    finished = 0
    while waiting:
        batch = next_batch(waiting, encoded, limit)
        means = _attempt(model, [encoded[i] for i in batch], [chosen[i] for i in batch])
        if means is None:
            release_memory()
            limit = limit.halved(model, len(batch), len(encoded[batch[0]].ids))
            continue
        result[:, batch] = means
        waiting = waiting[len(batch) :]
        finished += len(batch)
        on_batch(finished)
    by_position = dict(zip(names, result, strict=True))
    return by_position if positions is not None else by_position[DEFAULT_POSITION]


@contextmanager
def residual_stream_hooks(model: LanguageModel, receive: Receive) -> Iterator[None]:
    """Call `receive(layer, hidden)` for every layer of each forward pass inside the `with`.

    Args:
        model: The model.
        receive: Called with the layer, 0…N, and the residual stream `[batch, tokens, hidden_dim]`.
    """
    blocks = model.blocks
    handles = []

    def before_first_block(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        receive(0, args[0] if args else kwargs["hidden_states"])

    def after_block(layer: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            # Blocks return a tensor in transformers 5; some still return a tuple.
            receive(layer, output if isinstance(output, torch.Tensor) else output[0])

        return hook

    try:
        handles.append(blocks[0].register_forward_pre_hook(before_first_block, with_kwargs=True))
        for layer, block in enumerate(blocks, start=1):
            handles.append(block.register_forward_hook(after_block(layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


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


# -- batches ----------------------------------------------------------------------------------


class BatchLimit(NamedTuple):
    """Size limits of one forward pass; tokens include padding."""

    rows: float
    tokens: float
    enough_tokens: float

    @classmethod
    def of(cls, model: LanguageModel, batch_size: int | None) -> "BatchLimit":
        """Return the limits for a model; with None they follow from its size and device."""
        if batch_size is not None:
            return cls(batch_size, float("inf"), float("inf"))
        # A few hundred tokens keep a CPU busy; larger batches are no faster per token.
        if model.device.type == "cpu":
            return cls(float("inf"), 2_048, 256)
        return cls(float("inf"), 16_384, 8_192)

    def halved(self, model: LanguageModel, n_rows: int, width: int) -> "BatchLimit":
        """Return the limits after `n_rows` of `width` tokens ran out of memory.

        Raises:
            TraitvecError: If a single row does.
        """
        if n_rows == 1:
            raise TraitvecError(
                f"{model.name}: a single text of {width:,} tokens does not fit into the memory of"
                f" {model.device}; shorten the responses (sampling.max_new_tokens), free memory"
                " there, or use a smaller model"
            )
        return self._replace(tokens=n_rows // 2 * width)


def next_batch(waiting: list[int], encoded: list[Encoded], limit: BatchLimit) -> list[int]:
    """Return the texts, of those that wait with the longest first, that fit into the next batch."""
    width = len(encoded[waiting[0]].ids)
    count = 1
    for i in waiting[1:]:
        if count >= limit.rows or (count + 1) * width > limit.tokens:
            break
        if count * width >= limit.enough_tokens and len(encoded[i].ids) < _MIN_LENGTH_SHARE * width:
            break
        count += 1
    return waiting[:count]


def _check_lengths(model: LanguageModel, lengths: list[int]) -> None:
    limit = model.context_tokens
    if limit is not None and lengths and max(lengths) > limit:
        raise TraitvecError(
            f"{model.name} reads at most {limit:,} tokens, but a prompt with its response has"
            f" {max(lengths):,}; shorten the instructions or sampling.max_new_tokens"
        )


# -- the forward pass -------------------------------------------------------------------------


def _attempt(
    model: LanguageModel, items: list[Encoded], chosen: list[list[_Tokens]]
) -> torch.Tensor | None:
    """Return `[n_positions, batch, n_layers, hidden_dim]` on the CPU; None if out of memory."""
    try:
        width = max(len(item.ids) for item in items)
        # Padding is on the right, whatever the tokenizer prefers: under a causal mask no real token
        # attends to it and positions stay correct. So no attention mask is needed, which allows
        # the fastest kernels. Padding repeats an ordinary token, because its activations are
        # weighted with zero and must be finite.
        ids = torch.tensor([item.ids + item.ids[-1:] * (width - len(item.ids)) for item in items])
        is_counted = torch.zeros(len(items), len(chosen[0]), width, dtype=torch.bool)
        for row, by_position in enumerate(chosen):
            for number, indices in enumerate(by_position):
                is_counted[row, number, indices] = True
        return _forward_means(model, ids, is_counted)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _forward_means(
    model: LanguageModel, ids: torch.Tensor, is_counted: torch.Tensor
) -> torch.Tensor:
    """Return `[n_positions, batch, n_layers, hidden_dim]`.

    `is_counted` is `[batch, n_positions, tokens]`.
    """
    sums_by_layer: list[torch.Tensor | None] = [None] * model.n_layers
    # Tokens before the first counted one of the batch, and after the last, are not needed.
    used = is_counted.flatten(0, 1).any(dim=0).tolist()
    first, end = used.index(True), len(used) - used[::-1].index(True)
    marks: dict[torch.device, torch.Tensor] = {}

    def reduce(layer: int, hidden: torch.Tensor) -> None:
        if hidden.shape != (*ids.shape, model.hidden_dim):
            raise TraitvecError(
                f"{model.name}: the residual stream at layer {layer} has shape"
                f" {tuple(hidden.shape)} instead of {(*ids.shape, model.hidden_dim)}; traitvec does"
                " not support this architecture"
            )
        if hidden.device not in marks:
            marks[hidden.device] = is_counted[:, :, first:end].to(hidden.device)
        # Summed inside the forward pass, so that memory does not grow with the sequence.
        sums_by_layer[layer] = sum_counted(marks[hidden.device], hidden[:, first:end])

    with torch.inference_mode(), residual_stream_hooks(model, reduce):
        cast(Any, model.decoder)(input_ids=ids.to(model.device), use_cache=False)
        missing = [layer for layer, total in enumerate(sums_by_layer) if total is None]
        if missing:
            raise TraitvecError(
                f"{model.name}: layers {missing} did not run in a forward pass; traitvec does not"
                " support this architecture"
            )
        totals = cast(list[torch.Tensor], sums_by_layer)
        # A single copy to the CPU; a model on several devices gathers its layers on the first.
        sums = torch.stack([total.to(totals[0].device) for total in totals], dim=2).cpu()
    # 0 / 0 is NaN: a text without tokens is missing.
    return (sums / is_counted.sum(2)[..., None, None]).transpose(0, 1)


def sum_counted(is_counted: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Return the sums of the hidden states that count, without a float32 copy of all of them.

    Args:
        is_counted: Which tokens count, by position, `[batch, n_positions, n_tokens]`.
        hidden: `[batch, n_tokens, hidden_dim]`.

    Returns:
        float32 `[batch, n_positions, hidden_dim]`.
    """
    batch, n_positions, width = is_counted.shape
    total = torch.zeros(batch, n_positions, hidden.shape[-1], device=hidden.device)
    for start in range(0, width, _TOKENS_AT_ONCE):
        tokens = slice(start, start + _TOKENS_AT_ONCE)
        total.baddbmm_(is_counted[:, :, tokens].float(), hidden[:, tokens].float())
    return total
