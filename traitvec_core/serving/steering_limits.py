"""Steering that a shared engine must refuse, because it would spoil the requests of others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["check_steering"]

# Squares of the residual stream overflow float32 above 1e19, and float16 itself ends at 65,504.
_LARGEST = {"float16": 1e4}
_LARGEST_ELSE = 1e15


def check_steering(specs: Sequence[Mapping[str, Any]], n_blocks: int, dtype: str) -> None:
    """Raise if steering names a block that does not exist, or would overflow.

    What overflows ends as NaN in vLLM's cache of keys and values, whose blocks go on to other
    requests: masked tokens count nothing, but zero times NaN is NaN. Seen with vLLM 0.28 on a CPU:
    all requests returned padding until their blocks were written again.

    Args:
        specs: In the form of interp-engine's workers: a layer, numbers, and lists of numbers.
        n_blocks: Decoder blocks.
        dtype: Of the residual stream.

    Raises:
        ValueError: If the request has to be refused.
    """
    largest = _LARGEST.get(dtype, _LARGEST_ELSE)
    for spec in specs:
        if not 0 <= spec["layer"] < n_blocks:
            raise ValueError(f"steering names block {spec['layer']}; the model has {n_blocks}")
        scale = abs(float(spec.get("coeff", 1.0)))
        sizes = [scale * max(map(abs, spec["vector"]), default=0.0), scale]
        sizes += [abs(spec[name]) for name in ("min", "max") if spec.get(name) is not None]
        # Not `size > largest`, which NaN is not.
        if not all(math.isfinite(size) and size <= largest for size in sizes):
            raise ValueError(
                f"steering of more than {largest:g} overflows, and would spoil what other requests"
                " read; lower the coefficient"
            )
