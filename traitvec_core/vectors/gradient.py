"""The direction that maximises an objective over the unit sphere."""

import importlib
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.errors import TraitvecError
from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Array, Examples

__all__ = ["Objective", "gradient", "optima"]

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps the projections of the positives `[n]` and negatives `[m]` to the number to maximise."""


def gradient(examples: Examples, options: MethodOptions) -> Direction:
    """Maximise mean(pos·v) − mean(neg·v) − λ · pooled within-class std over ‖v‖ = 1.

    With λ = 0 the optimum is the direction of the mean difference; as λ grows, the optimum avoids
    directions along which the poles scatter. Solved in the span of the examples, in float64: this
    objective by the equation that its optimum satisfies, a custom one by L-BFGS from a seeded
    start.

    Raises:
        TraitvecError: If a custom objective cannot be imported or does not return a number.
    """
    span = examples.reduced
    if not span.coordinates.shape[1]:
        return oriented(np.zeros(examples.values.shape[1]), examples)
    if options.gradient_objective is None:
        unit = _optimum(span.coordinates, examples, options.gradient_penalty)
    else:
        unit = _ascended(span.coordinates, examples, options)
    return oriented(span.to_full(unit), examples)


def optima(gram: Array, is_positive: NDArray[np.bool_], counts: Array, penalty: float) -> Array:
    """Find the same optimum for examples with counts, from their inner products alone.

    Let A be the centred examples of each pole, so that W = AᵀA / m, and q = (κm + AAᵀ)⁻¹ A g.
    Then x ∝ g − Aᵀq, and the condition on κ (see `_optimum`) is √m·‖q‖ = λ: a factorisation of
    `[n, n]` for each step of Moré and Sorensen's iteration, and no eigenvectors.

    For fewer examples than dimensions; else κ may be below 0, and this finds κ = 0.

    Args:
        gram: `[n, n]`, of the examples around any origin.
        is_positive: `[n]`.
        counts: `[b, n]`: how often each example is in each problem.
        penalty: λ.

    Returns:
        `[b, n]`: v is the sum of the examples with these weights, up to its length.
    """
    weights = np.zeros_like(counts)
    shift = 0.0
    for index, each in enumerate(counts):
        # Similar problems have optima near each other: each starts where the last one ended.
        weights[index], shift = _dual_optimum(gram, is_positive, each, penalty, shift)
    return weights


def _dual_optimum(
    gram: Array, is_positive: NDArray[np.bool_], counts: Array, penalty: float, shift: float
) -> tuple[Array, float]:
    """One of `optima`, and its κm; starts from `shift`."""
    from scipy.linalg.lapack import dtrtrs

    rows = np.flatnonzero(counts)
    counts, positive = counts[rows], is_positive[rows]
    shares = np.zeros((2, len(rows)))
    shares[0, positive] = counts[positive] / counts[positive].sum()
    shares[1, ~positive] = counts[~positive] / counts[~positive].sum()
    mix = shares[0] - shares[1]
    weights = np.zeros(len(gram))
    weights[rows] = mix
    if penalty == 0:
        return weights, shift
    products = gram[np.ix_(rows, rows)]
    # Examples around the mean of their own pole, scaled by the root of their count.
    pole = np.where(positive, 0, 1)
    means = shares @ products
    roots = np.sqrt(counts)
    inner = products - means[pole] - means[pole].T + (means @ shares.T)[np.ix_(pole, pole)]
    inner *= roots[:, None] * roots
    along = roots * (products @ mix - (means @ mix)[pole])
    radius = penalty / np.sqrt(max(float(counts.sum()) - 2, 1.0))
    diagonal = np.einsum("ii->i", inner)
    lowest = max(1e-12 * float(diagonal.sum()), 1e-300)
    own = diagonal.copy()
    shift = max(shift, lowest)
    for _ in range(60):
        diagonal[:] = own + shift
        try:
            # Transposed, numpy's lower factor is Fortran's upper one, and is not copied.
            factor = np.linalg.cholesky(inner).T
        except np.linalg.LinAlgError:
            shift *= 10
            lowest = shift
            continue
        pull = dtrtrs(factor, dtrtrs(factor, along, trans=1)[0])[0]
        length = float(np.linalg.norm(pull))
        if abs(length / radius - 1) < 1e-5 or (length < radius and shift == lowest):
            break
        # qᵀ(κm + AAᵀ)⁻¹q is half the slope of ‖q‖²; Newton on 1/‖q‖, which is nearly a line.
        slope = float((dtrtrs(factor, pull, trans=1)[0] ** 2).sum())
        shift = max(shift + length**2 / slope * (length / radius - 1), shift / 100, lowest)
    weighted = roots * pull
    pulled = np.array([weighted[positive].sum(), weighted[~positive].sum()])
    weights[rows] = mix - (weighted - pulled @ shares)
    return weights, shift


def _optimum(coordinates: Array, examples: Examples, penalty: float) -> Array:
    """The best unit vector `[r]` for the objective of `gradient`.

    With g the gap of the means and W the pooled within-class covariance, a zero gradient along the
    sphere means v ∝ x = (W + κ)⁻¹ g for some κ, and substituting gives √(xᵀWx) = λ. The left side
    falls as κ grows, so exactly one such κ is above −w, where w is W's smallest eigenvalue; below
    −w, flipping the sign of one coordinate would be better.
    """
    positive, negative = coordinates[examples.is_positive], coordinates[~examples.is_positive]
    gap = positive.mean(axis=0) - negative.mean(axis=0)
    if penalty == 0:
        return cast(Array, gap / np.linalg.norm(gap))
    scatter = np.vstack([positive - positive.mean(axis=0), negative - negative.mean(axis=0)])
    variances, axes = np.linalg.eigh(scatter.T @ scatter / max(len(scatter) - 2, 1))
    largest = float(variances[-1])
    # Remove rounding noise where there is no scatter, so that the penalty ignores it.
    variances = np.where(variances > 1e-13 * largest, variances, 0.0)
    loads = axes.T @ gap
    above = variances - variances[0]

    def scatter_at(offset: float) -> float:
        """√(xᵀWx) at κ = offset − w."""
        return float(np.sqrt((variances * (loads / (above + offset)) ** 2).sum()))

    # √(xᵀWx) ≤ √(gᵀWg) / offset, so the root is below `high`; and where κ is practically −w, x is
    # practically the axis without scatter.
    high = float(np.sqrt((variances * loads**2).sum())) / penalty
    low = 1e-15 * (largest or 1.0)
    if high <= low or scatter_at(low) <= penalty:
        high = low
    while high > low * (1 + 1e-14):
        middle = float(np.sqrt(low * high))
        if not low < middle < high:
            break
        low, high = (middle, high) if scatter_at(middle) > penalty else (low, middle)
    best = axes @ (loads / (above + high))
    return cast(Array, best / np.linalg.norm(best))


def _ascended(coordinates: Array, examples: Examples, options: MethodOptions) -> Array:
    """The unit vector `[r]` at which a custom objective stops growing."""
    from scipy.optimize import minimize

    # One common scale, so that the objective is of order one for activations of any size.
    points = torch.from_numpy(coordinates / np.linalg.norm(coordinates, axis=1).mean())
    positive = points[torch.from_numpy(examples.is_positive)]
    negative = points[torch.from_numpy(~examples.is_positive)]
    objective = _load_objective(options)
    generator = torch.Generator().manual_seed(options.seed)
    start = positive.mean(0) - negative.mean(0)
    # A little noise moves the start away from where a custom objective is flat.
    noise = torch.randn(points.shape[1], generator=generator, dtype=torch.float64)
    start = start / start.norm().clamp_min(1e-12) + 1e-3 * noise

    def loss(given: Array) -> tuple[float, Array]:
        weights = torch.tensor(given, dtype=torch.float64, requires_grad=True)
        unit = weights / weights.norm()
        value = -_checked(objective(positive @ unit, negative @ unit), options)
        (slope,) = torch.autograd.grad(value, weights)
        return float(value.detach()), slope.numpy()

    result = minimize(
        loss, start.numpy(), jac=True, method="L-BFGS-B",
        options={"maxiter": 300, "gtol": 1e-9, "ftol": 1e-15, "maxcor": 30},
    )  # fmt: skip
    return cast(Array, result.x / np.linalg.norm(result.x))


def _load_objective(options: MethodOptions) -> Objective:
    path = options.gradient_objective or ""
    module, _, name = path.partition(":")
    try:
        objective = getattr(importlib.import_module(module), name)
        if not callable(objective):
            raise TypeError("not a function")
        return cast(Objective, objective)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise TraitvecError(
            f"gradient_objective {path!r} cannot be imported ({error}); give it as"
            " `package.module:function`"
        ) from error


def _checked(value: torch.Tensor, options: MethodOptions) -> torch.Tensor:
    usable = isinstance(value, torch.Tensor) and value.dim() == 0 and value.requires_grad
    if not usable or not torch.isfinite(value):
        raise TraitvecError(
            f"gradient_objective {options.gradient_objective!r} must return one finite number, a"
            " tensor that depends on the projections"
        )
    return value
