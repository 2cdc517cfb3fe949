"""The table of methods: to add one, write one function and list it here."""

from collections.abc import Callable

from traitvec_core.experiment import VectorMethod
from traitvec_core.vectors.control import pca_diff, random_direction
from traitvec_core.vectors.direction import Direction, MethodOptions
from traitvec_core.vectors.examples import Examples
from traitvec_core.vectors.gradient import gradient
from traitvec_core.vectors.ica import ica
from traitvec_core.vectors.mean_diff import mean_diff
from traitvec_core.vectors.probe import probe

__all__ = ["METHODS", "Direction", "Method", "MethodOptions"]

Method = Callable[[Examples, MethodOptions], Direction]

METHODS: dict[VectorMethod, Method] = {
    "mean_diff": mean_diff,
    "probe": probe,
    "ica": ica,
    "gradient": gradient,
    "pca_diff": pca_diff,
    "random": random_direction,
}
