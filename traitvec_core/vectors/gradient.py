"""The direction that maximises an objective, by gradient ascent on the unit sphere."""

import importlib
from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from traitvec_core.errors import TraitvecError
from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Examples

__all__ = ["Objective", "gradient"]

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the projections of the positives `[n]` and the negatives `[m]` to what is maximised."""


def gradient(examples: Examples, options: MethodOptions) -> Direction:
    """Maximise mean(pos·v) − mean(neg·v) − λ · pooled within-class std over ‖v‖ = 1.

    λ = 0 has its optimum at the mean difference's direction; as λ grows, directions along which
    the poles scatter are avoided. Solved in the span of the examples, in float64, seeded, with
    L-BFGS until nothing changes.

    Raises:
        TraitvecError: If a custom objective cannot be imported or gives no number.
    """
    coordinates, basis = examples.reduced
    if not coordinates.shape[1]:
        return oriented(np.zeros(examples.values.shape[1]), examples)
    # One scale for all, so that the objective is of order one at any size of activations.
    scale = float(np.linalg.norm(coordinates, axis=1).mean())
    points = torch.from_numpy(coordinates / scale)
    positive = points[torch.from_numpy(examples.is_positive)]
    negative = points[torch.from_numpy(~examples.is_positive)]
    objective = _load_objective(options)
    generator = torch.Generator().manual_seed(options.seed)
    start = positive.mean(0) - negative.mean(0)
    # A little noise, so that a start at which a custom objective is flat is left.
    noise = torch.randn(points.shape[1], generator=generator, dtype=torch.float64)
    weights = (start / start.norm().clamp_min(1e-12) + 1e-3 * noise).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=300, tolerance_grad=1e-9, tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> float:
        optimizer.zero_grad()
        unit = weights / weights.norm()
        value = -_checked(objective(positive @ unit, negative @ unit), options)
        torch.autograd.backward(value)
        return cast(float, value)

    optimizer.step(loss)
    found = (weights / weights.norm()).detach().numpy()
    return oriented(found @ basis, examples)


def _load_objective(options: MethodOptions) -> Objective:
    if options.gradient_objective is None:
        return lambda positive, negative: (
            positive.mean()
            - negative.mean()
            - options.gradient_penalty * _pooled_std(positive, negative)
        )
    module, _, name = options.gradient_objective.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        if not callable(found):
            raise TypeError("not a function")
        return cast(Objective, found)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise TraitvecError(
            f"gradient_objective {options.gradient_objective!r} cannot be imported ({error}); give"
            " it as `package.module:function`"
        ) from error


def _checked(value: torch.Tensor, options: MethodOptions) -> torch.Tensor:
    usable = isinstance(value, torch.Tensor) and value.dim() == 0 and value.requires_grad
    if not usable or not torch.isfinite(value):
        raise TraitvecError(
            f"gradient_objective {options.gradient_objective!r} must return one finite number, a"
            " tensor that depends on the projections"
        )
    return value


def _pooled_std(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    squares = ((positive - positive.mean()) ** 2).sum() + ((negative - negative.mean()) ** 2).sum()
    degrees = max(len(positive) + len(negative) - 2, 1)
    # The root has no gradient at zero.
    return (squares / degrees + 1e-24).sqrt()
