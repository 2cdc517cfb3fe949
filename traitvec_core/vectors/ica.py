"""The independent component that separates the poles best."""

import warnings

import numpy as np
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Examples

__all__ = ["ica"]

# Beyond this the whitening starts to divide by noise.
_MAX_COMPONENTS = 10


def ica(examples: Examples, options: MethodOptions) -> Direction:
    """FastICA after PCA (Hyvärinen & Oja 2000); components ordered by how well they separate.

    The labels only choose among components, and only those of these examples: held-out figures
    come from a choice made on the training split.
    """
    coordinates, basis = examples.reduced
    count = min(_MAX_COMPONENTS, coordinates.shape[1])
    if count == 0:
        return oriented(np.zeros(examples.values.shape[1]), examples)
    # FastICA's tolerance is absolute; activations come at any scale.
    scale = float(np.abs(coordinates).max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = FastICA(
            n_components=count,
            whiten="unit-variance",
            whiten_solver="svd",
            random_state=options.seed,
            max_iter=500,
            tol=1e-4,
        ).fit(coordinates / scale)
    components = fitted.components_ / scale
    projections = coordinates @ components.T
    gap = projections[examples.is_positive].mean(0) - projections[~examples.is_positive].mean(0)
    within = np.sqrt(
        (projections[examples.is_positive].var(0) + projections[~examples.is_positive].var(0)) / 2
    )
    best = int(np.argmax(np.abs(gap) / np.maximum(within, 1e-12)))
    return oriented(components[best] @ basis, examples)
