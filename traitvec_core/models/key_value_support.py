"""What a model's forward pass supports: which arguments, and which kind of cache."""

import inspect
from typing import Any, cast

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from traitvec_core.models.language_model import LanguageModel

__all__ = ["forward_parameters", "has_plain_cache"]


def has_plain_cache(model: LanguageModel) -> bool:
    """Whether the model's cache has only the keys and values of each token.

    Recurrent and hybrid models keep a state, which rules out left padding.
    """
    inner = cast(Any, model.model)
    if getattr(inner, "_is_stateful", False) or "past_key_values" not in forward_parameters(model):
        return False
    try:
        layers = DynamicCache(config=inner.config).layers
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return all(type(layer) in {DynamicLayer, DynamicSlidingWindowLayer} for layer in layers)


def forward_parameters(model: LanguageModel) -> set[str]:
    """Return the names of the arguments of the model's `forward`."""
    return set(inspect.signature(model.model.forward).parameters)
