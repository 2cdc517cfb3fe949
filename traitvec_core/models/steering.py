"""Steer a loaded model: add, ablate, project or cap along directions of its residual stream.

    with steer(model, Addition(16, vector, coefficient=1.5)):
        generate_texts(model, names, prompts, sampling)

Layer k is the output of decoder block k, counted from 1; layer 0 is the embedding output, the input
of block 1. Everything that runs the model inside the `with` is steered: generation, transformers'
own `generate`, capturing activations, a plain forward pass. The hooks are always removed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.forward_pass import ForwardPass
from traitvec_core.models.interventions import (
    Ablation,
    Addition,
    Cap,
    Change,
    Intervention,
    Positions,
    Projection,
)
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.row_table import RowTable

__all__ = [
    "Ablation",
    "Addition",
    "Cap",
    "Intervention",
    "Positions",
    "Projection",
    "check_interventions",
    "steer",
    "steer_table",
]


@contextmanager
def steer(
    model: LanguageModel,
    *interventions: Intervention,
    rows: Sequence[Sequence[Intervention]] | None = None,
    prompt_lengths: Sequence[int] | None = None,
) -> Iterator[None]:
    """Change the residual stream in every forward pass inside the `with`.

    Interventions at the same layer apply in the given order, and those of an inner `steer` after
    those of an outer one. `all` also changes padding, which no token attends to.

        with steer(model, rows=[[Addition(16, vector, 1.5)], [], [Ablation(20, other)]]):
            model.model(**batch_of_three)

    Args:
        model: The model, loaded in this process.
        interventions: The changes of every row.
        rows: Further changes of each row of the batch, after `interventions`. Rows without any
            keep their bits. Every forward pass must have as many rows; to generate any number of
            texts, pass `interventions` to `generate_texts`.
        prompt_lengths: Number of prompt tokens of each row, for passes that read prompt and
            response together. In generation, the first pass is the prompt and the others are the
            response.

    Raises:
        TraitvecError: If an intervention does not fit the model, or the model has no weights in
            this process. Inside the `with`: if a pass has another number of rows, or positions
            are limited and it does not reveal where the prompt ends.
    """
    of_rows = None if rows is None else [(*interventions, *row) for row in rows]
    every = [*interventions, *(item for row in rows or () for item in row)]
    with steer_table(model, every, prompt_lengths=prompt_lengths) as table:
        if of_rows is None:
            table.set_all(interventions)
        else:
            table.set_rows(of_rows)
        yield


@contextmanager
def steer_table(
    model: LanguageModel,
    interventions: Iterable[Intervention],
    *,
    prompt_lengths: Sequence[int] | None = None,
) -> Iterator[RowTable]:
    """Set hooks that read a table of each row's interventions; the caller changes it at will.

    For a batch whose rows come and go. The table is empty at first.

    Args:
        model: The model, loaded in this process.
        interventions: All that the table will ever hold.
        prompt_lengths: See `steer`.

    Raises:
        TraitvecError: See `steer`.
    """
    items = list(dict.fromkeys(interventions))
    _check_local(model)
    check_interventions(model, items)
    forward_pass = ForwardPass(prompt_lengths)
    table = RowTable(forward_pass)
    blocks = model.blocks
    handles = []
    try:
        if any(item.positions != "all" for item in items):
            # A multimodal model gets another mask than its decoder, and capturing calls the decoder
            # alone, so both are hooked.
            for module in dict.fromkeys((model.model, model.decoder)):
                handles.append(
                    module.register_forward_pre_hook(forward_pass.begin, with_kwargs=True)
                )
        for layer in sorted({item.layer for item in items}):
            change = table.change(layer)
            if layer == 0:
                hook = _before_block(change)
                handles.append(blocks[0].register_forward_pre_hook(hook, with_kwargs=True))
            else:
                handles.append(blocks[layer - 1].register_forward_hook(_after_block(change)))
        yield table
    finally:
        for handle in handles:
            handle.remove()


def check_interventions(model: LanguageModel, interventions: Sequence[Intervention]) -> None:
    """Check that interventions fit a model.

    Raises:
        TraitvecError: If a layer or a width does not fit, or a vector is not usable.
    """
    for item in interventions:
        what = f"{type(item).__name__} at layer {item.layer}"
        if not 0 <= item.layer < model.n_layers:
            raise TraitvecError(
                f"{what}: {model.name} has layers 0 (embedding output) to {model.n_layers - 1}"
            )
        if item.vector.shape != (model.hidden_dim,):
            raise TraitvecError(
                f"{what}: the vector has shape {tuple(item.vector.shape)}, but {model.name} needs"
                f" {(model.hidden_dim,)}"
            )
        problem = item.problem()
        if problem is not None:
            raise TraitvecError(f"{what}: {problem}")


def _after_block(change: Change) -> Callable[..., Any]:
    def hook(_module: Any, _args: Any, output: Any) -> Any:
        # Blocks return a tensor in transformers 5; some still return a tuple.
        if isinstance(output, torch.Tensor):
            return change(output)
        return (change(output[0]), *output[1:])

    return hook


def _before_block(change: Change) -> Callable[..., Any]:
    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return hook


def _check_local(model: LanguageModel) -> None:
    embeddings: Any = model.model.get_input_embeddings()
    if embeddings.weight.device.type == "meta" and not hasattr(embeddings, "_hf_hook"):
        raise TraitvecError(
            f"{model.name} runs outside this process (in vLLM or on a server): pass interventions"
            " to generate_texts, or set engine: transformers"
        )
