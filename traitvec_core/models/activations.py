"""Stage 2: the residual stream, averaged over response tokens, at every layer.

Row k is the residual stream after decoder block k, counted from 1; row 0 is the embedding output,
which is what enters block 1. The last row is taken before the final norm, by a hook on the last
block: transformers' `hidden_states[-1]` is after it, which is the wrong space for steering.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast, overload

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import Encoded, LanguageModel
from traitvec_core.models.memory import is_out_of_memory, release_memory
from traitvec_core.models.positions import check_position, first_tokens

__all__ = ["DEFAULT_POSITION", "capture_means", "pack", "residual_stream_hooks"]

DEFAULT_POSITION = "response_mean"

# Places of each text that are summed at a time: of a model in half precision, so much exists as a
# float32 copy at one time.
_PLACES_AT_ONCE = 128
# A batch that holds enough tokens to keep the hardware busy takes no text that is shorter than
# this share of its longest: from there on, padding costs more than another pass.
_LEAST_SHARE = 0.9

Receive = Callable[[int, torch.Tensor], None]


@overload
def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    positions: None = None,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = ...,
) -> torch.Tensor: ...


@overload
def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    positions: Sequence[str],
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = ...,
) -> dict[str, torch.Tensor]: ...


def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    positions: Sequence[str] | None = None,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Mean residual stream over each response's tokens, in the context of its prompt.

    No padding, prompt, BOS or end-of-turn token enters a mean. Sums run in float32 or better. What
    is kept besides the forward pass itself is texts × layers × hidden_dim, however long the texts.
    A batch that runs out of memory is halved; what was finished before it stays.

    Args:
        model: The model.
        texts: (prompt, response) pairs.
        positions: Several averages from the same forward pass: `response_mean`, the default;
            `response_first_<k>`, the mean over the first k response tokens; `prompt_avg`, the mean
            over the prompt's tokens, special ones left out; `prompt_last`, the prompt's last token,
            special or not, from which the answer begins.
        batch_size: Rows at once; None fills a budget of tokens.
        on_batch: Called with the number of texts finished so far.

    Returns:
        float32 `[n_texts, n_layers, hidden_dim]` on the CPU, or one by position when positions are
        named. A text without such tokens is NaN: missing, not zero.

    Raises:
        TraitvecError: If a position has no meaning, or if a text is longer than the model can read
            or than memory allows even alone.
    """
    names = tuple(positions) if positions is not None else (DEFAULT_POSITION,)
    rules = [_position(name) for name in names]
    special = set(model.tokenizer.all_special_ids)
    encoded = [model.encode_response(prompt, response) for prompt, response in texts]
    chosen = [[rule(item, special) for rule in rules] for item in encoded]
    usable = [i for i, tokens in enumerate(chosen) if any(tokens)]
    _check_lengths(model, [len(encoded[i].ids) for i in usable])

    result = torch.full((len(names), len(texts), model.n_layers, model.hidden_dim), torch.nan)
    # The longest first: memory that suffices for them suffices for the others.
    waiting = sorted(usable, key=lambda i: (-len(encoded[i].ids), i))
    limit = _Limit.of(model, batch_size)
    finished = 0
    while waiting:
        batch = _next_batch(waiting, encoded, limit)
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
    """Call `receive(row, hidden)` for every row of a forward pass inside the `with`.

    Args:
        model: The model.
        receive: Gets the row number, 0…N, and the residual stream `[batch, tokens, hidden_dim]`.
    """
    blocks = model.blocks
    handles = []

    def entering(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        receive(0, args[0] if args else kwargs["hidden_states"])

    def leaving(row: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            # Blocks return a tensor in transformers 5; some still return a tuple.
            receive(row, output if isinstance(output, torch.Tensor) else output[0])

        return hook

    try:
        handles.append(blocks[0].register_forward_pre_hook(entering, with_kwargs=True))
        for number, block in enumerate(blocks, start=1):
            handles.append(block.register_forward_hook(leaving(number)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def pack(activations: torch.Tensor) -> torch.Tensor:
    """Store as float16 where nothing is lost, else as float32.

    float16 is refused when a value would overflow, or when a nonzero value would fall among the
    subnormals (below 2^-14) and that matters: it is not negligible beside its row's largest.
    """
    half = activations.half()
    if not torch.isfinite(half).all():
        return activations.float()
    size = activations.abs()
    matters = size > 1e-4 * size.amax(dim=-1, keepdim=True)
    if bool(((size < 2.0**-14) & (size > 0) & matters).any()):
        return activations.float()
    return half


# -- which tokens -----------------------------------------------------------------------------

_Tokens = list[int]
_Rule = Callable[[Encoded, set[int]], _Tokens]


def _position(name: str) -> _Rule:
    """From an encoded text and the special tokens' ids to the places that are averaged."""
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
            place for place in range(item.n_prompt) if item.ids[place] not in special
        ]
    count = first_tokens(name)
    return lambda item, special: _response(item)[:count]


def _response(item: Encoded) -> _Tokens:
    return [place for place, is_response in enumerate(item.is_response) if is_response]


# -- batches ----------------------------------------------------------------------------------


class _Limit(NamedTuple):
    """How much goes into one forward pass; tokens include padding."""

    rows: float
    tokens: float
    enough_tokens: float

    @classmethod
    def of(cls, model: LanguageModel, batch_size: int | None) -> "_Limit":
        if batch_size is not None:
            return cls(batch_size, float("inf"), float("inf"))
        # A CPU is busy with a few hundred tokens, and a token costs it the same in any batch.
        if model.device.type == "cpu":
            return cls(float("inf"), 2_048, 256)
        return cls(float("inf"), 16_384, 8_192)

    def halved(self, model: LanguageModel, n_rows: int, width: int) -> "_Limit":
        if n_rows == 1:
            raise TraitvecError(
                f"{model.name}: a text of {width:,} tokens does not fit into the memory of"
                f" {model.device} even alone; shorten the responses (sampling.max_new_tokens), free"
                " memory there, or use a smaller model"
            )
        return self._replace(tokens=n_rows // 2 * width)


def _next_batch(waiting: list[int], encoded: list[Encoded], limit: _Limit) -> list[int]:
    width = len(encoded[waiting[0]].ids)
    count = 1
    for i in waiting[1:]:
        if count >= limit.rows or (count + 1) * width > limit.tokens:
            break
        if count * width >= limit.enough_tokens and len(encoded[i].ids) < _LEAST_SHARE * width:
            break
        count += 1
    return waiting[:count]


def _check_lengths(model: LanguageModel, lengths: list[int]) -> None:
    limit = model.context_tokens
    if limit is not None and lengths and max(lengths) > limit:
        raise TraitvecError(
            f"{model.name} reads at most {limit:,} tokens; a prompt with its response has"
            f" {max(lengths):,}: shorten the instructions or sampling.max_new_tokens"
        )


# -- the forward pass -------------------------------------------------------------------------


def _attempt(
    model: LanguageModel, items: list[Encoded], chosen: list[list[_Tokens]]
) -> torch.Tensor | None:
    """Means `[n_positions, batch, n_layers, hidden_dim]` on the CPU; None if memory ran out."""
    try:
        width = max(len(item.ids) for item in items)
        # Padding goes to the right, whatever the tokenizer prefers: under a causal mask no real
        # token sees it and positions need no correction, so that no mask is needed either and the
        # fastest attention kernels apply. It repeats an ordinary token, whose activations are
        # finite: they are weighted with zero.
        ids = torch.tensor([item.ids + item.ids[-1:] * (width - len(item.ids)) for item in items])
        is_counted = torch.zeros(len(items), len(chosen[0]), width, dtype=torch.bool)
        for row, by_position in enumerate(chosen):
            for number, places in enumerate(by_position):
                is_counted[row, number, places] = True
        return _forward_means(model, ids, is_counted)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _forward_means(
    model: LanguageModel, ids: torch.Tensor, is_counted: torch.Tensor
) -> torch.Tensor:
    """`[n_positions, batch, n_layers, hidden_dim]` from marks `[batch, n_positions, tokens]`."""
    rows: list[torch.Tensor | None] = [None] * model.n_layers
    # What lies before all responses is never read.
    used = is_counted.flatten(0, 1).any(dim=0).tolist()
    first, end = used.index(True), len(used) - used[::-1].index(True)
    marks: dict[torch.device, torch.Tensor] = {}

    def reduce(row: int, hidden: torch.Tensor) -> None:
        if hidden.shape != (*ids.shape, model.hidden_dim):
            raise TraitvecError(
                f"{model.name}: the residual stream at row {row} has shape {tuple(hidden.shape)},"
                f" not {(*ids.shape, model.hidden_dim)}; traitvec cannot read this architecture"
            )
        if hidden.device not in marks:
            marks[hidden.device] = is_counted[:, :, first:end].to(hidden.device)
        # Reduced inside the forward pass: what is kept does not grow with the sequence.
        rows[row] = _sums(marks[hidden.device], hidden[:, first:end])

    with torch.inference_mode(), residual_stream_hooks(model, reduce):
        cast(Any, model.decoder)(input_ids=ids.to(model.device), use_cache=False)
        silent = [row for row, found in enumerate(rows) if found is None]
        if silent:
            raise TraitvecError(f"{model.name}: rows {silent} never ran in a forward pass")
        found = cast(list[torch.Tensor], rows)
        # One copy to the CPU; a model on several devices gathers its rows on the first.
        sums = torch.stack([row.to(found[0].device) for row in found], dim=2).cpu()
    # 0 / 0 is NaN: what has no token is missing.
    return (sums / is_counted.sum(2)[..., None, None]).transpose(0, 1)


def _sums(is_counted: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """`[batch, n_positions, hidden_dim]` in float32, without a float32 copy of all of `hidden`."""
    batch, n_positions, width = is_counted.shape
    total = torch.zeros(batch, n_positions, hidden.shape[-1], device=hidden.device)
    for start in range(0, width, _PLACES_AT_ONCE):
        some = slice(start, start + _PLACES_AT_ONCE)
        total.baddbmm_(is_counted[:, :, some].float(), hidden[:, some].float())
    return total
