"""Steer a loaded model: add, ablate, project or cap along directions of its residual stream.

    with steer(model, Addition(16, vector, coefficient=1.5)):
        generate_texts(model, names, prompts, sampling)

Layer k is the output of decoder block k, counted from 1; layer 0 is the embedding output, the input
of block 1. Everything that runs the model inside the `with` is steered: generation, transformers'
own `generate`, capturing activations, a plain forward pass. The hooks are always removed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import LanguageModel

__all__ = ["Ablation", "Addition", "Cap", "Intervention", "Positions", "Projection", "steer"]

Positions = Literal["all", "prompt", "last", "response"]
_Change = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def steer(
    model: LanguageModel,
    *interventions: "Intervention",
    prompt_lengths: Sequence[int] | None = None,
) -> Iterator[None]:
    """Change the residual stream in every forward pass inside the `with`.

    Interventions at the same layer apply in the given order, and those of an inner `steer` after
    those of an outer one. `all` also changes padding, which no token attends to.

    Args:
        model: The model, loaded in this process.
        interventions: The changes.
        prompt_lengths: Number of prompt tokens of each row, for passes that read prompt and
            response together. In generation, the first pass is the prompt and the others are the
            response.

    Raises:
        TraitvecError: If an intervention does not fit the model, or the model has no weights in
            this process. Inside the `with`: if positions are limited and a pass does not reveal
            where the prompt ends.
    """
    _check(model, interventions)
    forward_pass = _ForwardPass(prompt_lengths)
    blocks = model.blocks
    handles = []
    try:
        if any(item.positions != "all" for item in interventions):
            # A multimodal model gets another mask than its decoder, and capturing calls the decoder
            # alone, so both are hooked.
            for module in dict.fromkeys((model.model, model.decoder)):
                handles.append(
                    module.register_forward_pre_hook(forward_pass.begin, with_kwargs=True)
                )
        for item in interventions:
            change = _limited_change(item, forward_pass)
            if item.layer == 0:
                hook = _before_block(change)
                handles.append(blocks[0].register_forward_pre_hook(hook, with_kwargs=True))
            else:
                handles.append(blocks[item.layer - 1].register_forward_hook(_after_block(change)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class Intervention:
    """One change at one layer.

    Attributes:
        layer: The layer, counted from 1; 0 is the embedding output.
        vector: `[hidden_dim]`.
        positions: Which tokens to change: `all`; the `prompt`; the prompt's `last` token, after
            which the response begins; the `response`. `last` and `response` together are the
            tokens that predict the response (persona vectors call that `response`).
    """

    layer: int
    vector: torch.Tensor
    positions: Positions = field(default="all", kw_only=True)

    def problem(self) -> str | None:
        """Return why this intervention is invalid for every model, or None."""
        return None if torch.isfinite(self.vector).all() else "the vector is not finite"

    def on(self, like: torch.Tensor) -> _Change:
        """Return the function that changes a residual stream of the device and dtype of `like`."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Addition(Intervention):
    """Add `coefficient · vector`: h + c·v, in the model's dtype.

    Attributes:
        coefficient: How many times the vector is added; negative steers towards the other pole.
    """

    coefficient: float = 1.0

    def problem(self) -> str | None:
        """See `Intervention`."""
        is_finite = torch.isfinite(self.coefficient * self.vector).all()
        return None if is_finite else "coefficient · vector is not finite"

    def on(self, like: torch.Tensor) -> _Change:
        """See `Intervention`."""
        added = self.coefficient * self.vector.to(like.device, like.dtype)
        return lambda hidden: hidden + added


@dataclass(frozen=True, eq=False)
class _Clamp(Intervention):
    """Keep h·v̂ inside a range, in float32 or better; v̂ is the vector scaled to length 1."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest h·v̂ afterwards."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """See `Intervention`."""
        if not torch.isfinite(self.vector).all() or not self.vector.any():
            return "the vector has no direction: it is zero or not finite"
        low, high = self.range
        if not low <= high or low == torch.inf or high == -torch.inf:
            return f"no value is between {low} and {high}"
        return None

    def on(self, like: torch.Tensor) -> _Change:
        """See `Intervention`."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        wide = self.vector.to(like.device, torch.float64)
        unit = (wide / wide.norm()).to(dtype)
        low, high = self.range

        def change(hidden: torch.Tensor) -> torch.Tensor:
            projection = hidden.to(dtype) @ unit
            shift = (projection.clamp(low, high) - projection).unsqueeze(-1)
            clamped: torch.Tensor = hidden.to(dtype) + shift * unit
            return clamped.to(hidden.dtype)

        return change


@dataclass(frozen=True, eq=False)
class Cap(_Clamp):
    """Keep the projection on the vector's direction inside a range.

    A token whose projection is already inside stays unchanged, bit for bit.

    Attributes:
        low: Smallest h·v̂ afterwards, in activation units.
        high: Largest h·v̂ afterwards.
    """

    low: float = -torch.inf
    high: float = torch.inf

    @property
    def range(self) -> tuple[float, float]:
        """See `_Clamp`."""
        return self.low, self.high


@dataclass(frozen=True, eq=False)
class Projection(_Clamp):
    """Set the projection on the vector's direction to one value: h + (value − h·v̂)·v̂.

    Attributes:
        value: h·v̂ afterwards, in activation units.
    """

    value: float

    @property
    def range(self) -> tuple[float, float]:
        """See `_Clamp`."""
        return self.value, self.value


@dataclass(frozen=True, eq=False)
class Ablation(_Clamp):
    """Remove the component along the vector's direction: h − (h·v̂)·v̂.

    Later blocks may write it again. Arditi et al. 2024 (arXiv:2406.11717) remove it at every layer:
    `steer(model, *(Ablation(k, vector) for k in range(model.n_layers)))`.
    """

    @property
    def range(self) -> tuple[float, float]:
        """See `_Clamp`."""
        return 0.0, 0.0


# -- hooks ------------------------------------------------------------------------------------


def _limited_change(item: Intervention, forward_pass: "_ForwardPass") -> _Change:
    prepared: dict[tuple[torch.device, torch.dtype], _Change] = {}

    def change(hidden: torch.Tensor) -> torch.Tensor:
        key = (hidden.device, hidden.dtype)
        if key not in prepared:
            prepared[key] = item.on(hidden)
        changed = prepared[key](hidden)
        if item.positions == "all":
            return changed
        is_selected = forward_pass.selects(item.positions, hidden).unsqueeze(-1)
        return torch.where(is_selected, changed, hidden)

    return change


def _after_block(change: _Change) -> Callable[..., Any]:
    def hook(_module: Any, _args: Any, output: Any) -> Any:
        # Blocks return a tensor in transformers 5; some still return a tuple.
        if isinstance(output, torch.Tensor):
            return change(output)
        return (change(output[0]), *output[1:])

    return hook


def _before_block(change: _Change) -> Callable[..., Any]:
    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return hook


class _ForwardPass:
    """Which tokens the current forward pass reads."""

    def __init__(self, prompt_lengths: Sequence[int] | None) -> None:
        self._prompt_lengths = prompt_lengths
        self._mask: torch.Tensor | None = None
        self._cache: Any = None
        self._n_seen = 0

    def begin(self, _module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if mask is None or (isinstance(mask, torch.Tensor) and mask.dim() == 2):
            self._mask = mask
        self._cache = kwargs.get("past_key_values", kwargs.get("cache_params"))
        # Counted before any block extends the cache.
        self._n_seen = _n_seen(self._cache)

    def selects(self, positions: Positions, hidden: torch.Tensor) -> torch.Tensor:
        """Return, for each token, whether it is at these positions: bool `[batch, tokens]`."""
        shape, device = hidden.shape[:2], hidden.device
        if self._prompt_lengths is None and self._n_seen:
            return torch.full(shape, positions == "response", device=device)
        mask = self._mask
        if mask is None:
            mask = torch.ones(shape[0], self._n_seen + shape[1])
        mask = mask.to(device, torch.bool)
        # The index of each token in its text, on whichever side the padding is.
        index = (mask.cumsum(1) - 1)[:, -shape[1] :]
        n_prompt = self._n_prompt(mask)
        is_at = {
            "prompt": index < n_prompt,
            "last": index == n_prompt - 1,
            "response": index >= n_prompt,
        }
        return is_at[positions] & mask[:, -shape[1] :]

    def _n_prompt(self, mask: torch.Tensor) -> torch.Tensor:
        """Return the number of prompt tokens of each row, `[batch, 1]`."""
        if self._prompt_lengths is None:
            if self._cache is None:
                raise TraitvecError(
                    "this forward pass does not show where the prompt ends; steer at all positions,"
                    " or pass prompt_lengths"
                )
            return mask.sum(1, keepdim=True)
        if len(self._prompt_lengths) != len(mask):
            raise TraitvecError(
                f"prompt_lengths has {len(self._prompt_lengths)} rows, but the forward pass has"
                f" {len(mask)}"
            )
        return torch.tensor(self._prompt_lengths, device=mask.device).unsqueeze(1)


def _n_seen(cache: Any) -> int:
    """Return the number of tokens in a cache, including padding."""
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except ValueError:
        # A recurrent state only records whether it has seen any token.
        return int(cache.has_previous_state())


def _check(model: LanguageModel, interventions: Sequence[Intervention]) -> None:
    embeddings: Any = model.model.get_input_embeddings()
    if embeddings.weight.device.type == "meta" and not hasattr(embeddings, "_hf_hook"):
        raise TraitvecError(
            f"{model.name} runs outside this process (in vLLM or on a server) and cannot be steered"
            " there; set engine: transformers"
        )
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
