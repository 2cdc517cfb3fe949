"""Logistic regression on standardised activations, mapped back to activation space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Array, Examples, Span, grouped_folds, span_of
from traitvec_core.vectors.logistic import fit_logistic

__all__ = [
    "CANDIDATES",
    "ProbeFit",
    "Standardised",
    "choose_c",
    "fit_probe",
    "probe",
    "standardised",
]

# Candidates for C, the inverse strength of the penalty on standardised activations.
CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1)
# For the L1 penalty, in multiples of the C below which every weight is zero.
_L1_CANDIDATES = (2.0, 5.0, 20.0, 100.0)
_INNER_FOLDS = 3

Fit = Callable[[Array, NDArray[np.bool_], Array], tuple[Array, Array]]
"""From features `[n, r]`, labels and C `[k]` to weights `[k, r]` and intercepts `[k]`."""


@dataclass(frozen=True)
class ProbeFit:
    """A fitted probe.

    Attributes:
        direction: Its direction and threshold in activation space.
        c: The C that was chosen.
        inner_accuracy: Balanced accuracy of that C on groups held out inside the examples; NaN
            without two usable folds.
    """

    direction: Direction
    c: float
    inner_accuracy: float


@dataclass(frozen=True, eq=False)
class Standardised:
    """Activations with mean 0 and deviation 1 in every dimension.

    Attributes:
        points: `[n, hidden_dim]`.
        inverse: 1/σ `[hidden_dim]`; 0 for a dimension without variance.
    """

    points: Array
    inverse: Array

    def span(self) -> Span:
        """Return the points in their span.

        The L2 penalty only sees ‖w‖, which a rotation keeps, so with fewer examples than
        dimensions the small problem has the same solution.
        """
        return span_of(self.points)


def probe(examples: Examples, options: MethodOptions) -> Direction:
    """Fit a logistic regression, L2 or L1, with C chosen on groups held out in the examples."""
    return fit_probe(examples, options).direction


def fit_probe(examples: Examples, options: MethodOptions) -> ProbeFit:
    """Choose C, fit, and map back.

    The weights `w` of the standardised problem become `w / σ` in activation space, so that a
    projection plus a constant is the probe's logit. Dimensions without variance get weight zero.

    Args:
        examples: The examples to fit.
        options: The penalty, and the seed of the inner folds.
    """
    if "standardised" not in examples.label_free:
        examples.label_free["standardised"] = standardised(examples)
    scaled = examples.label_free["standardised"]
    if options.probe_penalty == "l1":
        # A rotation changes ‖w‖₁, so this problem is solved in all dimensions.
        features, candidates = scaled.points, _l1_candidates(scaled.points, examples.is_positive)
        fit: Fit = partial(_fit_l1, seed=options.seed)
    else:
        if "probe span" not in examples.label_free:
            examples.label_free["probe span"] = scaled.span()
        span = examples.label_free["probe span"]
        features, candidates, fit = span.coordinates, CANDIDATES, fit_logistic
    c, inner_accuracy = choose_c(features, examples, options.seed, candidates, fit)
    weights, intercept = fit(features, examples.is_positive, np.array([c]))
    full = weights[0] if options.probe_penalty == "l1" else span.to_full(weights[0])
    vector = full * scaled.inverse
    direction = oriented(vector, examples)
    # logit = (x − μ)·v + b, so it changes sign where x·v = μ·v − b.
    level = intercept[0] - _log_odds(examples.is_positive)
    threshold = float(examples.values.mean(axis=0) @ vector - level)
    sign = 1.0 if direction.vector @ vector > 0 else -1.0
    return ProbeFit(Direction(direction.vector, sign * threshold), c, inner_accuracy)


def choose_c(
    features: Array,
    examples: Examples,
    seed: int,
    candidates: Sequence[float] = CANDIDATES,
    fit: Fit = fit_logistic,
) -> tuple[float, float]:
    """Return the C with the best balanced accuracy on held-out groups, and that accuracy.

    Ties go to the strongest penalty, and so does the choice without two usable folds.
    """
    folds = grouped_folds(examples, _INNER_FOLDS, seed)
    if len(folds) < 2:
        return float(candidates[0]), float("nan")
    is_positive = examples.is_positive
    is_scored = np.any(folds, axis=0)
    # How much each right answer counts: the same for both poles together.
    share = np.where(is_positive, 0.5 / max((is_positive & is_scored).sum(), 1), 0.0)
    share += np.where(is_positive, 0.0, 0.5 / max((~is_positive & is_scored).sum(), 1))
    accuracy = np.zeros(len(candidates))
    for mask in folds:
        weights, intercept = fit(features[~mask], is_positive[~mask], np.array(candidates))
        called = features[mask] @ weights.T + intercept > _log_odds(is_positive[~mask])
        accuracy += share[mask] @ (called == is_positive[mask][:, None])
    best = int(accuracy.argmax())
    return float(candidates[best]), float(accuracy[best])


def _log_odds(is_positive: NDArray[np.bool_]) -> float:
    """The part of an intercept that only reflects how many examples each pole has.

    Without it the smaller pole would hardly ever be called (King & Zeng 2001, prior correction).
    """
    return float(np.log(is_positive.sum() / (~is_positive).sum()))


def standardised(examples: Examples) -> Standardised:
    """Scale every dimension of the centred activations to deviation 1."""
    deviation = examples.centred.std(axis=0)
    # Rounding leaves a constant dimension with a tiny deviation; dividing by it would make noise
    # the largest feature of all.
    varies = deviation > 1e-9 * np.abs(examples.values).max(axis=0)
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return Standardised(examples.centred * inverse, inverse)


def _l1_candidates(points: Array, is_positive: NDArray[np.bool_]) -> tuple[float, ...]:
    pull = np.abs((is_positive - is_positive.mean()) @ points).max()
    smallest = 1.0 / max(float(pull), 1e-12)
    return tuple(smallest * factor for factor in _L1_CANDIDATES)


def _fit_l1(
    features: Array, is_positive: NDArray[np.bool_], c: Array, *, seed: int
) -> tuple[Array, Array]:
    """Minimise Σ log(1 + exp(−y·(x·w + b))) + ‖w‖₁ / C by scikit-learn's liblinear."""
    import sklearn
    from sklearn.linear_model import LogisticRegression

    # scikit-learn 1.8 deprecates `penalty`; before, only one solver supports `l1_ratio`.
    is_old = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 8)
    kind = {"penalty": "l1"} if is_old else {"l1_ratio": 1.0}
    weights, intercepts = np.zeros((len(c), features.shape[1])), np.zeros(len(c))
    for index, each in enumerate(c):
        # liblinear penalises the intercept too; its scaling makes that negligible.
        fitted = LogisticRegression(
            C=float(each), solver="liblinear", intercept_scaling=100.0, tol=1e-5, max_iter=5000,
            random_state=seed, **kind,
        ).fit(features, is_positive)  # fmt: skip
        weights[index], intercepts[index] = fitted.coef_[0], fitted.intercept_[0]
    return weights, intercepts
