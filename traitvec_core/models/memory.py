"""Recognise when memory runs out, and free it."""

import gc

import torch

__all__ = ["is_out_of_memory", "release_memory"]

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
