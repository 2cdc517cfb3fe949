"""Logistic regression with an L2 penalty, many at once."""

import numpy as np
from numpy.typing import NDArray

from traitvec_core.vectors.examples import Array

__all__ = ["fit_logistic", "fit_many"]

_MAX_NEWTON_STEPS = 50
_MAX_STEPS = 300


def fit_logistic(features: Array, is_positive: NDArray[np.bool_], c: Array) -> tuple[Array, Array]:
    """Fit one regression for each C, by damped Newton steps.

    Minimises Σ log(1 + exp(−y·(x·w + b))) + ‖w‖² / (2C), with the intercept unpenalised: the
    problem that scikit-learn's `LogisticRegression(C=c)` solves, all C at once.

    Args:
        features: `[n, r]`.
        is_positive: `[n]`.
        c: `[k]`.

    Returns:
        Weights `[k, r]` and intercepts `[k]`.
    """
    n, r = features.shape
    target = is_positive.astype(np.float64)
    gram = features @ features.T if n < r else None
    weights, intercept = np.zeros((len(c), r)), np.zeros(len(c))
    logits = np.zeros((len(c), n))
    loss = _loss(logits, target) + (weights**2).sum(axis=1) / (2 * c)
    for _ in range(_MAX_NEWTON_STEPS):
        probability = _sigmoid(logits)
        residual = probability - target
        slope = residual @ features + weights / c[:, None]
        slope_0 = residual.sum(axis=1)
        if max(np.abs(slope).max(initial=0.0), np.abs(slope_0).max()) < 1e-8 * n:
            break
        curvature = probability * (1.0 - probability)
        step, step_0 = _newton_step(features, gram, curvature, slope, slope_0, c)
        moved = step @ features.T + step_0[:, None]
        size = np.ones(len(c))
        for _ in range(30):
            trial = weights - size[:, None] * step
            trial_logits = logits - size[:, None] * moved
            trial_loss = _loss(trial_logits, target) + (trial**2).sum(axis=1) / (2 * c)
            worse = trial_loss > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            size[worse] /= 2
        weights, intercept = trial, intercept - size * step_0
        logits, loss = trial_logits, trial_loss
    return weights, intercept


def fit_many(
    features: Array, target: Array, counts: Array, c: float, *, around: int | None = None
) -> tuple[Array, Array]:
    """Fit one regression for each row of targets and counts, at one C, on the same features.

    Minimises Σ count·log(1 + exp(−y·(x·w + b))) + ‖w‖² / (2C). Gradient steps of Barzilai and
    Borwein's length in coordinates in which the curvature is near one, so that a step for all
    problems is two matrix products. A problem that has not converged then goes to `fit_logistic`.

    Args:
        features: `[n, r]`.
        target: `[b, n]` of 0 and 1.
        counts: `[b, n]`: how often each example is in each problem, about 1 on average.
        c: The inverse strength of the penalty.
        around: The row whose solution the others are near, with counts of 1; it is solved first.

    Returns:
        Weights `[b, r]` and intercepts `[b]`.
    """
    n, r = features.shape
    design = np.hstack([features, np.ones((n, 1))])
    penalty = np.append(np.full(r, 1.0 / c), 0.0)
    start, curvature = np.zeros(r + 1), np.full(n, 0.25)
    if around is not None:
        solved, solved_0 = fit_logistic(features, target[around] > 0.5, np.array([c]))
        start = np.append(solved[0], solved_0[0])
        probability = _sigmoid(design @ start)
        # An example far on its own side here may not be in another problem.
        curvature = np.maximum(probability * (1 - probability), 0.02)
    hessian = (design.T * curvature) @ design
    hessian[np.arange(r + 1), np.arange(r + 1)] += penalty
    # With H = LLᵀ and u = Lᵀ·(w, b), the curvature along every u is near one.
    inverse = np.linalg.inv(np.linalg.cholesky(hessian))
    seen = design @ inverse.T
    fixed = (inverse * penalty) @ inverse.T
    solution = np.tile(np.linalg.solve(inverse.T, start), (len(target), 1))
    size = np.ones((len(target), 1))
    before = change = None
    for _ in range(_MAX_STEPS):
        slope = (counts * (_sigmoid(solution @ seen.T) - target)) @ seen + solution @ fixed
        is_done = np.linalg.norm(slope, axis=1) < 1e-5 * np.sqrt(n)
        if is_done.all():
            break
        if before is not None and change is not None:
            turned = slope - before
            bend, length = (change * turned).sum(axis=1), (turned**2).sum(axis=1)
            usable = (bend > 0) & ~is_done
            size[usable, 0] = np.clip(bend[usable] / length[usable], 0.01, 50.0)
        change = np.where(is_done[:, None], 0.0, -size * slope)
        before = slope
        solution = solution + change
    solved = solution @ inverse
    weights, intercept = solved[:, :r], solved[:, r]
    for index in np.flatnonzero(~is_done):
        # Repeated rows are equivalent to counts.
        rows = np.repeat(np.arange(n), counts[index].astype(int))
        single, single_0 = fit_logistic(features[rows], target[index][rows] > 0.5, np.array([c]))
        weights[index], intercept[index] = single[0], single_0[0]
    return weights, intercept


def _newton_step(
    features: Array, gram: Array | None, curvature: Array, slope: Array, slope_0: Array, c: Array
) -> tuple[Array, Array]:
    """Solve each problem's Hessian for its slope, in the smaller of the two dimensions.

    The intercept's row and column are eliminated; the rest is 1/C + XᵀSX, with S the curvature.
    """
    n, r = features.shape
    k = len(c)
    cross = curvature @ features
    sides = np.stack([slope, cross], axis=2)
    if gram is None:
        hessian = np.empty((k, r, r))
        for index in range(k):
            hessian[index] = (features.T * curvature[index]) @ features
        hessian[:, np.arange(r), np.arange(r)] += 1.0 / c[:, None]
        solved = np.linalg.solve(hessian, sides)
    else:
        # Woodbury: (1/C + XᵀSX)⁻¹ = C − C²XᵀS^½ (1 + C·S^½XXᵀS^½)⁻¹ S^½X.
        root = np.sqrt(curvature)
        inner = (c[:, None] * root)[:, :, None] * gram * root[:, None, :]
        inner[:, np.arange(n), np.arange(n)] += 1.0
        projected = root[:, :, None] * (features @ sides)
        pulled = root[:, :, None] * np.linalg.solve(inner, projected)
        solved = c[:, None, None] * (sides - c[:, None, None] * (features.T @ pulled))
    by_slope, by_cross = solved[:, :, 0], solved[:, :, 1]
    # The tiny term keeps the intercept solvable when every probability is saturated.
    rest = curvature.sum(axis=1) + 1e-10 - (cross * by_cross).sum(axis=1)
    step_0 = (slope_0 - (cross * by_slope).sum(axis=1)) / np.maximum(rest, 1e-10)
    return by_slope - step_0[:, None] * by_cross, step_0


def _sigmoid(logits: Array) -> Array:
    probability: Array = 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500)))
    return probability


def _loss(logits: Array, target: Array) -> Array:
    # log(1 + exp(z)) without overflow, and several times as fast as logaddexp.
    softplus = np.maximum(logits, 0.0) + np.log1p(np.exp(-np.abs(logits)))
    total: Array = (softplus - target * logits).sum(axis=-1)
    return total
