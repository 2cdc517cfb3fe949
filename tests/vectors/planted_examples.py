"""Examples of two poles with a known direction between them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from traitvec_core.vectors import METHODS, Examples, MethodOptions, extract_vectors
from traitvec_core.vectors.examples import Array
from traitvec_core.vectors.probe import standardised

OPTIONS = MethodOptions()
ALL = tuple(METHODS)
DEFAULT = ("mean_diff", "probe", "ica", "gradient")


def planted(
    n: int = 60, d: int = 16, gap: float = 3.0, seed: int = 0, offset: float = 2.0
) -> tuple[Examples, Array]:
    """Anisotropic noise with the poles apart along one unit direction, and that direction."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(d)
    direction /= np.linalg.norm(direction)
    is_positive = np.arange(n) % 2 == 0
    values = rng.standard_normal((n, d)) * rng.uniform(0.3, 1.5, d) + offset
    values += np.where(is_positive, gap / 2, -gap / 2)[:, None] * direction
    return Examples(values, is_positive, np.arange(n) // 4), direction


def standardised_features(examples: Examples) -> tuple[Array, Callable[[Array], Array]]:
    """The probe's features, and the way from their weights to a vector."""
    scaled = standardised(examples)
    span = scaled.span()
    return span.coordinates, lambda weights: span.to_full(weights) * scaled.inverse


def cosine(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def extract(
    values: Array, is_positive: Any, *, dtype: torch.dtype = torch.float32, **options: Any
) -> Any:
    """Extract from one layer given as `[n, d]`, four examples to a question."""
    given: dict[str, Any] = {"layers": [0], "methods": DEFAULT, **options}
    return extract_vectors(
        torch.from_numpy(np.asarray(values)).to(dtype)[:, None],
        np.asarray(is_positive),
        np.arange(len(values)) // 4,
        **given,
    )
