"""Extraction and validation of vectors, compared with a script of scikit-learn and torch."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.record import Figure, figure, ratio
from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import split_examples
from traitvec_core.validation.measure_vectors import measure_vectors
from traitvec_core.vectors import extract_vectors
from traitvec_core.vectors.probe import CANDIDATES

__all__ = ["everything", "extraction"]

N_EXAMPLES, N_LAYERS, HIDDEN_DIM = 200, 27, 2304
N_QUESTIONS, N_PAIRS = 20, 5
METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe", "ica", "gradient")
ADAM_STEPS = 1000


def extraction(repeats: int = 1) -> list[Figure]:
    """Time of a loop with scikit-learn and torch, divided by ours, on [200, 27, 2304]."""
    activations, is_positive, groups = _activations()

    def ours() -> None:
        extract_vectors(activations, is_positive, groups, layers=range(N_LAYERS), methods=METHODS)

    def script() -> None:
        for layer in range(N_LAYERS):
            _script(activations[:, layer].float().numpy(), is_positive, groups)

    ours()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, work in enumerate((script, ours)):
            taken[side].append(_seconds(work))
    name = "scikit-learn and torch loops / extraction of 4 methods on [200, 27, 2304]"
    return [ratio(name, *taken, at_least=15.0)]


def everything(repeats: int = 1) -> list[Figure]:
    """All that the stage `vectors` measures: four methods at every layer.

    Vectors, held-out figures by question and instruction pair, their intervals, swapped labels and
    random directions, norms by chance, and what else could explain the recommended vector.
    """
    activations, is_positive, questions = _activations()
    # Each question once under each instruction, in each pole.
    pairs = np.arange(N_EXAMPLES) // N_QUESTIONS % N_PAIRS
    examples = LabelledExamples(
        activations=activations,
        split=split_examples(is_positive, questions, pairs),
        responses=[f"Answer {number} to question {question}." for number, question in
                   enumerate(questions)],
        is_refusal=[False] * N_EXAMPLES,
        opposite=activations.flip(0),
    )  # fmt: skip

    def work() -> None:
        measure_vectors(examples, range(1, N_LAYERS), METHODS)

    name = "everything that the stage vectors measures, 4 methods on [200, 27, 2304]"
    return [figure(name, min(_seconds(work) for _ in range(repeats)), "s", at_most=15.0)]


def _script(values: Any, is_positive: NDArray[np.bool_], groups: NDArray[np.int64]) -> list[Any]:
    """The four methods at one layer, written in the simplest way."""
    from sklearn.decomposition import FastICA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.preprocessing import StandardScaler

    warnings.simplefilter("ignore")
    positive, negative = values[is_positive], values[~is_positive]
    mean_diff = positive.mean(axis=0) - negative.mean(axis=0)

    scaler = StandardScaler().fit(values)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": list(CANDIDATES)}, cv=GroupKFold(3)
    ).fit(scaler.transform(values), is_positive, groups=groups)
    probe = search.best_estimator_.coef_[0] / scaler.scale_

    ica = FastICA(10, whiten="unit-variance", random_state=0, max_iter=500).fit(values)
    sources = ica.transform(values)
    gaps = np.abs(sources[is_positive].mean(axis=0) - sources[~is_positive].mean(axis=0))
    component = ica.components_[int(gaps.argmax())]

    scale = float(np.linalg.norm(values - values.mean(axis=0), axis=1).mean())
    ahead, behind = torch.from_numpy(positive / scale), torch.from_numpy(negative / scale)
    weights = torch.from_numpy(mean_diff / np.linalg.norm(mean_diff)).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=0.01)
    for _ in range(ADAM_STEPS):
        optimizer.zero_grad()
        unit = weights / weights.norm()
        up, down = ahead @ unit, behind @ unit
        loss = down.mean() - up.mean() + ((up.var() + down.var()) / 2).sqrt()
        loss.backward()
        optimizer.step()
    return [mean_diff, probe, component, weights.detach().numpy()]


def _activations() -> tuple[torch.Tensor, NDArray[np.bool_], NDArray[np.int64]]:
    """Return float16 activations that resemble real ones.

    They have question effects, a decaying spectrum, dimensions of unequal size, one massive
    dimension, and poles that differ more in deeper layers.
    """
    rng = np.random.default_rng(0)
    shape = (N_EXAMPLES, N_LAYERS, HIDDEN_DIM)
    is_positive = np.arange(N_EXAMPLES) < N_EXAMPLES // 2
    groups = np.arange(N_EXAMPLES) % N_QUESTIONS
    values = rng.standard_normal(shape, dtype=np.float32)
    values += 0.7 * rng.standard_normal((N_QUESTIONS, *shape[1:]), dtype=np.float32)[groups]
    for rank in range(30):
        along = rng.standard_normal((N_EXAMPLES, 1, 1), dtype=np.float32)
        values += 1.5 * 0.85**rank * along * rng.standard_normal(shape[1:], dtype=np.float32)
    values *= np.exp(0.5 * rng.standard_normal(shape[1:], dtype=np.float32))
    direction = rng.standard_normal(shape[1:], dtype=np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    depth = np.linspace(0, 1, N_LAYERS, dtype=np.float32)[:, None]
    sign = np.where(is_positive, 1, -1)[:, None, None]
    values += 20 * depth * sign * rng.uniform(0.5, 1.5, (N_EXAMPLES, 1, 1)) * direction
    values[:, :, 7] += 3000 * depth[:, 0] * rng.normal(1, 0.05, (N_EXAMPLES, 1))
    return torch.from_numpy(values).half(), is_positive, groups


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
