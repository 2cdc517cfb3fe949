"""The difference of the class means."""

from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Examples

__all__ = ["mean_diff"]


def mean_diff(examples: Examples, options: MethodOptions) -> Direction:
    """mean(positive) − mean(negative); its own length is the distance of the means."""
    del options
    return oriented(examples.gap, examples)
