"""Logistic regression on standardised activations, mapped back to activation space."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Array, Examples, grouped_folds

__all__ = [
    "CANDIDATES",
    "ProbeFit",
    "choose_c",
    "fit_logistic",
    "fit_probe",
    "probe",
    "standardised_features",
]

# Candidates for C, the inverse strength of the penalty on standardised activations.
CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1)
_INNER_FOLDS = 3
_MAX_NEWTON_STEPS = 50


@dataclass(frozen=True)
class ProbeFit:
    """A fitted probe.

    Attributes:
        direction: Its direction and threshold in activation space.
        c: The C that was chosen.
        inner_accuracy: Accuracy of that C on groups held out inside the examples; NaN without
            two usable folds.
    """

    direction: Direction
    c: float
    inner_accuracy: float


def probe(examples: Examples, options: MethodOptions) -> Direction:
    """L2 logistic regression; C by held-out accuracy over questions inside these examples."""
    return fit_probe(examples, options.seed).direction


def fit_probe(examples: Examples, seed: int) -> ProbeFit:
    """Choose C, fit, and map back.

    The weights `w` of the standardised problem become `w / σ` in activation space, so that a
    projection plus a constant is the probe's logit. Dimensions without variance get weight zero.

    Args:
        examples: What to fit.
        seed: Deals the questions out to the inner folds.
    """
    features, back = standardised_features(examples)
    c, inner_accuracy = choose_c(features, examples, seed)
    weights, intercept = fit_logistic(features, examples.is_positive, np.array([c]))
    vector = back(weights[0])
    direction = oriented(vector, examples)
    # logit = (x − μ)·v + b, so it changes sign where x·v = μ·v − b.
    threshold = float(examples.values.mean(axis=0) @ vector - intercept[0])
    sign = 1.0 if direction.vector @ vector > 0 else -1.0
    return ProbeFit(Direction(direction.vector, sign * threshold), c, inner_accuracy)


def choose_c(features: Array, examples: Examples, seed: int) -> tuple[float, float]:
    """Return the C with the best accuracy on held-out groups, and that accuracy.

    Ties go to the strongest penalty. Without two usable folds the strongest penalty is taken.
    """
    folds = grouped_folds(examples, _INNER_FOLDS, seed)
    candidates = np.array(CANDIDATES)
    if len(folds) < 2:
        return float(candidates[0]), float("nan")
    correct = np.zeros(len(candidates))
    held_out = 0
    for mask in folds:
        weights, intercept = fit_logistic(features[~mask], examples.is_positive[~mask], candidates)
        called = features[mask] @ weights.T + intercept > 0
        correct += (called == examples.is_positive[mask][:, None]).sum(axis=0)
        held_out += int(mask.sum())
    best = int(correct.argmax())
    return float(candidates[best]), float(correct[best] / held_out)


def fit_logistic(features: Array, is_positive: NDArray[np.bool_], c: Array) -> tuple[Array, Array]:
    """Fit L2 logistic regressions, one for each C, by damped Newton steps.

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
    design = np.hstack([features, np.ones((n, 1))])
    penalty = np.zeros((len(c), r + 1))
    penalty[:, :r] = 1.0 / c[:, None]
    solution = np.zeros((len(c), r + 1))
    loss = _losses(design, target, solution, penalty)
    for _ in range(_MAX_NEWTON_STEPS):
        probability = 1.0 / (1.0 + np.exp(-np.clip(solution @ design.T, -500, 500)))
        gradient = (probability - target) @ design + penalty * solution
        if np.abs(gradient).max() < 1e-8 * n:
            break
        curvature = probability * (1.0 - probability)
        hessian = np.einsum("kn,ni,nj->kij", curvature, design, design, optimize=True)
        diagonal = np.arange(r + 1)
        # The tiny term keeps the intercept solvable when every probability is saturated.
        hessian[:, diagonal, diagonal] += penalty + 1e-10
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        size = np.ones(len(c))
        for _ in range(30):
            trial = solution - size[:, None] * step
            trial_loss = _losses(design, target, trial, penalty)
            worse = trial_loss > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            size[worse] /= 2
        solution, loss = trial, trial_loss
    return solution[:, :r], solution[:, r]


def _losses(design: Array, target: Array, solution: Array, penalty: Array) -> Array:
    logits = solution @ design.T
    fit: Array = (np.logaddexp(0.0, logits) - target * logits).sum(axis=1)
    shrinkage: Array = 0.5 * (penalty * solution**2).sum(axis=1)
    return fit + shrinkage


def standardised_features(examples: Examples) -> tuple[Array, Callable[[Array], Array]]:
    """Standardised activations in an orthonormal basis of their span, and the way back.

    The penalty only sees ‖w‖, which a rotation keeps, so with fewer examples than dimensions the
    small problem has the same solution.

    Returns:
        Features `[n, r]`, and a function from weights `[r]` to a vector `[hidden_dim]`.
    """
    centred = examples.values - examples.values.mean(axis=0)
    deviation = centred.std(axis=0)
    # Rounding leaves a constant dimension with a tiny deviation; dividing by it would make noise
    # the largest feature of all.
    varies = deviation > 1e-9 * np.abs(examples.values).max(axis=0)
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    scaled = Examples(centred * inverse, examples.is_positive, examples.groups)
    features, basis = scaled.reduced

    def back(weights: Array) -> Array:
        vector: Array = (weights @ basis) * inverse
        return vector

    return features, back
