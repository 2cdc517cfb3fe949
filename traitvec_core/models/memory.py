"""Recognise when memory runs out, and free it."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from traitvec_core.errors import TraitvecError

__all__ = ["in_halves", "is_out_of_memory", "release_memory"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Phrases of torch's backends, which raise a plain RuntimeError.
_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device, or the machine, is out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


def release_memory() -> None:
    """Free the memory of a failed attempt. Call it outside the `except` block.

    Inside, the traceback keeps every tensor of the failed forward pass alive.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_halves(
    items: Sequence[_Item], run: Callable[[Sequence[_Item]], _Result], what: str
) -> Iterator[tuple[Sequence[_Item], _Result]]:
    """Run a function on items together, and on half as many whenever memory runs out.

    Args:
        items: What to process.
        run: The function.
        what: Names a single item, for the error.

    Yields:
        The items of each successful call, in order, and its result.

    Raises:
        TraitvecError: If a single item does not fit into memory.
    """
    size = len(items)
    while items:
        size = min(size, len(items))
        results: list[_Result] = []
        try:
            results.append(run(items[:size]))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if results:
            yield items[:size], results[0]
            items = items[size:]
            continue
        release_memory()
        if size == 1:
            raise TraitvecError(
                f"out of memory for {what}; free memory, or use a smaller model or dtype"
            )
        size //= 2
