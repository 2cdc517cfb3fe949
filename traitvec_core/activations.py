"""Stage 2: the residual stream, averaged over response tokens, at every layer.

Row k is the residual stream after decoder block k, counted from 1; row 0 is the embedding output,
which is what enters block 1. The last row is taken before the final norm, by a hook on the last
block: transformers' `hidden_states[-1]` is after it, which is the wrong space for steering.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch

from traitvec_core.language_model import LanguageModel

__all__ = ["capture_means", "pack", "residual_stream_hooks"]

# Tokens (padding included) of one forward pass on a CPU; beyond it caches thrash.
_TOKENS_PER_BATCH_CPU = 8_192
_TOKENS_PER_BATCH_GPU = 32_768

Reduce = Callable[[int, torch.Tensor], None]


def capture_means(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    *,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> torch.Tensor:
    """Mean residual stream over each response's tokens, in the context of its prompt.

    No padding, prompt, BOS or end-of-turn token enters a mean. Sums run in float32 or better.

    Args:
        model: The model.
        texts: (prompt, response) pairs.
        batch_size: Rows at once; None fills a budget of tokens.
        on_batch: Called with the number of texts finished so far.

    Returns:
        float32 `[n_texts, n_layers, hidden_dim]` on the CPU. A text without response tokens is NaN:
        missing, not zero.
    """
    encoded = [model.encode_response(prompt, response) for prompt, response in texts]
    result = torch.full((len(texts), model.n_layers, model.hidden_dim), torch.nan)
    usable = [i for i, item in enumerate(encoded) if any(item.is_response)]
    order = sorted(usable, key=lambda i: (len(encoded[i].ids), i))
    finished = 0
    for batch in _batches(order, [len(item.ids) for item in encoded], batch_size, model):
        width = max(len(encoded[i].ids) for i in batch)
        pad = model.pad_token_id
        # Padding goes to the right, whatever the tokenizer prefers: under a causal mask no real
        # token sees it, and positions need no correction.
        ids = torch.tensor([_padded(encoded[i].ids, width, pad) for i in batch])
        attention = torch.tensor([_padded([1] * len(encoded[i].ids), width, 0) for i in batch])
        weights = torch.tensor(
            [_padded([float(x) for x in encoded[i].is_response], width, 0.0) for i in batch]
        )
        weights /= weights.sum(1, keepdim=True)
        result[batch] = _forward_means(model, ids, attention, weights)
        finished += len(batch)
        on_batch(finished)
    return result


@contextmanager
def residual_stream_hooks(model: LanguageModel, receive: Reduce) -> Iterator[None]:
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


def _forward_means(
    model: LanguageModel, ids: torch.Tensor, attention: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    rows: list[torch.Tensor | None] = [None] * model.n_layers

    def reduce(row: int, hidden: torch.Tensor) -> None:
        share = weights.to(hidden.device, torch.float32).unsqueeze(1)
        # Reduced inside the forward pass: what is kept does not grow with the sequence.
        rows[row] = torch.bmm(share, hidden.float()).squeeze(1)

    with torch.inference_mode(), residual_stream_hooks(model, reduce):
        cast(Any, model.decoder)(
            input_ids=ids.to(model.device),
            attention_mask=attention.to(model.device),
            use_cache=False,
        )
    return torch.stack([cast(torch.Tensor, row).cpu() for row in rows], dim=1)


def _batches(
    order: list[int], lengths: list[int], batch_size: int | None, model: LanguageModel
) -> Iterator[list[int]]:
    budget = _TOKENS_PER_BATCH_CPU if model.device.type == "cpu" else _TOKENS_PER_BATCH_GPU
    batch: list[int] = []
    for i in order:
        full = (
            len(batch) >= batch_size
            if batch_size is not None
            # `order` rises in length, so this text sets the width of the batch it joins.
            else (len(batch) + 1) * lengths[i] > budget
        )
        if batch and full:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _padded(values: list[Any], width: int, fill: Any) -> list[Any]:
    return values + [fill] * (width - len(values))
