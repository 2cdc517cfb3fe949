"""Reads the residual stream of a model that is loaded in this process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.batches import BatchLimit, next_batch
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.memory import is_out_of_memory, release_memory
from traitvec_core.models.reading import Reading, sum_counted
from traitvec_core.models.steering import steer

__all__ = ["LocalReader", "residual_stream_hooks"]

Receive = Callable[[int, torch.Tensor], None]


@dataclass(frozen=True)
class LocalReader:
    """Reads with hooks; see `Reader`. Inside `steer`, the steered residual stream is read.

    Attributes:
        language_model: The model, loaded in this process.
    """

    language_model: LanguageModel

    def means(
        self,
        readings: Sequence[Reading],
        *,
        batch_size: int | None = None,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> torch.Tensor:
        """See `Reader`. Results do not depend on the batch beyond float tolerance.

        Memory beyond the forward pass is texts × layers × hidden_dim, however long the texts are.
        A batch that runs out of memory is halved and repeated; finished batches are kept.

        Raises:
            TraitvecError: If a single text does not fit into memory.
        """
        model = self.language_model
        lengths = [len(reading.ids) for reading in readings]
        n_positions = len(readings[0].counted) if readings else 0
        result = torch.full(
            (n_positions, len(readings), model.n_layers, model.hidden_dim), torch.nan
        )
        # Longest first: if they fit into memory, the others do.
        waiting = sorted(range(len(readings)), key=lambda i: (-lengths[i], i))
        limit = BatchLimit.of(model, batch_size)
        finished = 0
        while waiting:
            batch = next_batch(waiting, lengths, limit)
            means = _attempt(model, [readings[i] for i in batch])
            if means is None:
                release_memory()
                limit = limit.halved(model, len(batch), lengths[batch[0]])
                continue
            result[:, batch] = means
            waiting = waiting[len(batch) :]
            finished += len(batch)
            on_batch(finished)
        return result

    def hidden(self, ids: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """See `Reader`."""
        model = self.language_model
        wanted, by_layer = set(layers), dict[int, torch.Tensor]()

        def receive(layer: int, hidden: torch.Tensor) -> None:
            if layer in wanted:
                by_layer[layer] = hidden[0]

        with torch.inference_mode(), residual_stream_hooks(model, receive):
            cast(Any, model.decoder)(
                input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False
            )
        return by_layer

    def logits(self, ids: Sequence[int], *interventions: Intervention) -> torch.Tensor:
        """See `Reader`."""
        model = self.language_model
        batch = torch.tensor([list(ids)], device=model.device)
        with torch.inference_mode(), steer(model, *interventions):
            logits = model.model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits
        return cast(torch.Tensor, logits[0].float())


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


def _attempt(model: LanguageModel, items: list[Reading]) -> torch.Tensor | None:
    """Return `[n_positions, batch, n_layers, hidden_dim]` on the CPU; None if out of memory."""
    try:
        width = max(len(item.ids) for item in items)
        # Padding is on the right, whatever the tokenizer prefers: under a causal mask no real token
        # attends to it and positions stay correct. So no attention mask is needed, which allows
        # the fastest kernels. Padding repeats an ordinary token, because its activations are
        # weighted with zero and must be finite.
        ids = torch.tensor([item.ids + item.ids[-1:] * (width - len(item.ids)) for item in items])
        is_counted = torch.zeros(len(items), len(items[0].counted), width, dtype=torch.bool)
        for row, item in enumerate(items):
            for number, indices in enumerate(item.counted):
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
