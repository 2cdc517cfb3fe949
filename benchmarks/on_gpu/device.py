"""The device: its speed limits, timing and memory."""

import math
import time
from collections.abc import Callable

import torch

__all__ = ["Device"]


class Device:
    """A GPU, or with `is_toy` a CPU too; measured on creation.

    Attributes:
        device: The torch device.
        name: Its name.
        dtype: bfloat16 on a GPU, float32 on a CPU.
        peak_flops: Operations per second of a large matrix product, the practical limit of prefill.
        bandwidth: Bytes per second of a large copy, read and written: the limit of decoding.
    """

    def __init__(self, *, is_toy: bool) -> None:
        self.is_toy = is_toy
        self.is_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.is_gpu else "cpu")
        self.name = torch.cuda.get_device_name() if self.is_gpu else "cpu"
        self.dtype = torch.bfloat16 if self.is_gpu else torch.float32
        self.peak_flops = self._peak_flops()
        self.bandwidth = self._bandwidth()

    def seconds(self, *sides: Callable[[], object], repeats: int = 3) -> list[list[float]]:
        """Return the seconds of each side, run in turn; a first round warms up kernels."""
        taken: list[list[float]] = [[] for _ in sides]
        for round_number in range(repeats + (not self.is_toy)):
            for side, work in enumerate(sides):
                elapsed = self.time(work)
                if round_number or self.is_toy:
                    taken[side].append(elapsed)
        return taken

    def time(self, work: Callable[[], object]) -> float:
        """Return the seconds of one run."""
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """Return the peak of allocated GPU memory during a run; 0 without a GPU."""
        if not self.is_gpu:
            work()
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        self._wait()
        return torch.cuda.max_memory_allocated()

    def release(self) -> None:
        """Give unused memory back to the GPU."""
        if self.is_gpu:
            torch.cuda.empty_cache()

    def _peak_flops(self) -> float:
        n = 8_192 if self.is_gpu else 256
        left, right = (torch.randn(n, n, device=self.device, dtype=self.dtype) for _ in range(2))
        (times,) = self.seconds(lambda: left @ right, repeats=20)
        return 2 * n**3 / min(times)

    def _bandwidth(self) -> float:
        n_bytes = 2**32 if self.is_gpu else 2**24
        source = torch.empty(n_bytes, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        (times,) = self.seconds(lambda: target.copy_(source), repeats=20)
        return 2 * n_bytes / max(min(times), math.ulp(0))

    def _wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()
