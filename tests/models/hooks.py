"""Counts the forward hooks that are on modules, for tests that none is left behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch.nn import Module
from torch.utils.hooks import RemovableHandle


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
