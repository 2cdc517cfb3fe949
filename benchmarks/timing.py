"""CPU time of ways to do the same work, which take turns on one thread."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

__all__ = ["cpu_seconds", "in_turn", "one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: with more, waiting for each other counts as CPU time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of this process for one run."""
    started = time.process_time()
    work()
    return time.process_time() - started


def in_turn(repeats: int, *sides: Callable[[], object]) -> list[list[float]]:
    """Return the CPU times of each side, on one thread."""
    taken: list[list[float]] = [[] for _ in sides]
    with one_thread():
        for _ in range(repeats):
            for side, work in enumerate(sides):
                taken[side].append(cpu_seconds(work))
    return taken
