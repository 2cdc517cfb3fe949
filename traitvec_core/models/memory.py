"""Running out of memory: how to tell, and how to make room."""

import gc

import torch

__all__ = ["is_out_of_memory", "release_memory"]

# What torch's backends say in a plain RuntimeError.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


def release_memory() -> None:
    """Give back what a failed attempt still holds; call it outside the `except` block.

    Inside it, the traceback keeps every tensor of the failed forward pass alive.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
