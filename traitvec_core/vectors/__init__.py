"""Stage 3: trait vectors, one file per method."""

from traitvec_core.vectors.examples import Examples
from traitvec_core.vectors.extract import TraitVector, extract_vectors
from traitvec_core.vectors.methods import METHODS, Direction, Method, MethodOptions

__all__ = [
    "METHODS",
    "Direction",
    "Examples",
    "Method",
    "MethodOptions",
    "TraitVector",
    "extract_vectors",
]
