"""Counts the forward hooks that are on modules, and the tokens that a model computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch.nn import Module
from torch.utils.hooks import RemovableHandle

from traitvec_core.models.language_model import LanguageModel


@contextmanager
def counting_hooks() -> Iterator[Callable[[], int]]:
    """Yield a function that counts the hooks registered since and not removed yet."""
    handles: list[RemovableHandle] = []

    def recorded(register: Callable[..., RemovableHandle]) -> Callable[..., RemovableHandle]:
        def wrapped(*arguments: Any, **options: Any) -> RemovableHandle:
            handles.append(register(*arguments, **options))
            return handles[-1]

        return wrapped

    def n_left() -> int:
        return sum(handle.id in (handle.hooks_dict_ref() or {}) for handle in handles)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("register_forward_hook", "register_forward_pre_hook"):
            patch.setattr(Module, name, recorded(getattr(Module, name)))
        yield n_left


@contextmanager
def counting_tokens(model: LanguageModel) -> Iterator[list[int]]:
    """Yield the number of input tokens, padding included, of every forward pass."""
    counts: list[int] = []

    def count(_module: Any, args: Any, _output: Any) -> None:
        counts.append(args[0].numel())

    handle = model.model.get_input_embeddings().register_forward_hook(count)
    try:
        yield counts
    finally:
        handle.remove()
