"""The independent component that separates the poles best."""

from collections.abc import Sequence

import numpy as np

from traitvec_core.vectors.direction import Direction, MethodOptions, oriented
from traitvec_core.vectors.examples import Array, Examples

__all__ = ["ica", "ica_of_each"]

# Beyond this the whitening starts to divide by noise.
_MAX_COMPONENTS = 10
_MAX_STEPS = 500
_TOLERANCE = 1e-4


def ica(examples: Examples, options: MethodOptions) -> Direction:
    """Return the best-separating component of FastICA after PCA (Hyvärinen & Oja 2000).

    The labels only choose among components, and only the labels of these examples: held-out figures
    rest on a choice made on the training split.

    The search stops after 500 steps, and on activations without clear non-Gaussian sources it has
    not converged by then. The steps then amplify rounding: two machines, or scikit-learn on the
    same numbers changed by 1e-13, give different components. One machine always gives the same.
    """
    return ica_of_each([examples], options)[0]


def ica_of_each(problems: Sequence[Examples], options: MethodOptions) -> list[Direction]:
    """Run `ica` on several sets of examples; those with equally many components run together."""
    name = f"ica unmixing {options.seed}"
    new = [examples for examples in problems if name not in examples.label_free]
    for examples, unmixing in zip(new, _unmixings(new, options), strict=True):
        examples.label_free[name] = unmixing
    return [_best(examples, examples.label_free[name]) for examples in problems]


def _unmixings(problems: Sequence[Examples], options: MethodOptions) -> list[Array]:
    """The components of each problem, columns of `[count, count]`; labels play no part."""
    whitened = [_whitened(examples) for examples in problems]
    unmixings: dict[int, Array] = {}
    for count in {whitening.shape[1] for whitening in whitened}:
        which = [i for i, whitening in enumerate(whitened) if whitening.shape[1] == count]
        start = np.random.RandomState(options.seed).normal(size=(count, count))
        sources = [
            problems[i].reduced.coordinates[:, :count] @ whitened[i] if count else np.zeros((1, 0))
            for i in which
        ]
        for i, rotation in zip(which, _rotations(sources, start), strict=True):
            unmixings[i] = whitened[i] @ rotation.T
    return [unmixings[i] for i in range(len(problems))]


def _whitened(examples: Examples) -> Array:
    """The matrix `[count, count]` from principal components to ones of unit variance."""
    principal = examples.reduced.coordinates[:, :_MAX_COMPONENTS]
    deviations = np.sqrt((principal**2).mean(axis=0))
    # The sign of an eigenvector is arbitrary and decides where the search starts: scikit-learn
    # makes the loading of the first dimension positive.
    signs = np.where(principal.T @ examples.centred[:, 0] < 0, -1.0, 1.0)
    return np.diag(signs / deviations)


def _best(examples: Examples, unmixing: Array) -> Direction:
    """The component that separates best, of the columns `[count, count]`."""
    span = examples.reduced
    count = len(unmixing)
    weights = np.zeros(span.coordinates.shape[1])
    if count:
        sources = span.coordinates[:, :count] @ unmixing
        positive, negative = sources[examples.is_positive], sources[~examples.is_positive]
        gap = np.abs(positive.mean(axis=0) - negative.mean(axis=0))
        within = np.sqrt((positive.var(axis=0) + negative.var(axis=0)) / 2)
        weights[:count] = unmixing[:, int(np.argmax(gap / np.maximum(within, 1e-12)))]
    return oriented(span.to_full(weights), examples)


def _rotations(sources: Sequence[Array], start: Array) -> Array:
    """Symmetric FastICA with the log cosh contrast, of each problem.

    The steps are those of `sklearn.decomposition.FastICA(algorithm="parallel", fun="logcosh")`,
    without scikit-learn's checks and conversions.

    Args:
        sources: `[n, count]` each, uncorrelated and of unit variance.
        start: `[count, count]`.

    Returns:
        Orthogonal matrices `[len(sources), count, count]`; their rows give the components.
    """
    sizes = np.array([len(source) for source in sources], dtype=np.float64)
    rotations = np.repeat(_nearest_orthogonal(start[None]), len(sources), axis=0)
    if not len(start):
        return rotations
    # Rows of zeros change no sum.
    padded = np.zeros((len(sources), int(sizes.max()), len(start)))
    for index, source in enumerate(sources):
        padded[index, : len(source)] = source
    white = np.ascontiguousarray(padded.transpose(0, 2, 1))
    averaging = padded / sizes[:, None, None]
    open_ = np.arange(len(sources))
    for _ in range(_MAX_STEPS):
        before = rotations[open_]
        bent = before @ (white if len(open_) == len(white) else white[open_])
        np.tanh(bent, out=bent)
        slope = 1.0 - np.einsum("bkn,bkn->bk", bent, bent) / sizes[open_, None]
        part = averaging if len(open_) == len(averaging) else averaging[open_]
        turned = _nearest_orthogonal(bent @ part - slope[:, :, None] * before)
        rotations[open_] = turned
        moved = np.abs(np.abs(np.einsum("bij,bij->bi", turned, before)) - 1).max(axis=1)
        open_ = open_[moved >= _TOLERANCE]
        if not len(open_):
            break
    return rotations


def _nearest_orthogonal(matrices: Array) -> Array:
    squares, vectors = np.linalg.eigh(matrices @ matrices.transpose(0, 2, 1))
    roots = np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny))
    nearest: Array = (vectors / roots[:, None, :]) @ (vectors.transpose(0, 2, 1) @ matrices)
    return nearest
