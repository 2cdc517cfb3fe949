"""What is known to be in the activations is found, and what is not there is not.

Everything here is drawn from known distributions, so that the right answers follow from theory.
"""

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from traitvec_core.experiment import Thresholds, VectorMethod
from traitvec_core.validation.checks.accuracy import check_accuracy
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.evidence import LabelledExamples
from traitvec_core.validation.held_out import split_examples
from traitvec_core.validation.measure_vectors import measure_vectors
from traitvec_core.validation.separation import (
    Separation,
    cosines_between_methods,
    measure_separation,
)
from traitvec_core.validation.validate import check_vectors
from traitvec_core.validation.verdict import judge_vector
from traitvec_core.vectors import extract_vectors

METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe", "ica", "gradient")
WORDS = ["time", "tree", "road", "hand", "sea", "light", "voice", "stone", "paper", "summer"]


class Planted(NamedTuple):
    activations: torch.Tensor
    is_positive: Any
    questions: Any
    instructions: Any
    direction: Any
    nuisance: Any

    @property
    def given(self) -> tuple[Any, Any, Any, Any]:
        return self.activations, self.is_positive, self.questions, self.instructions


def planted(
    gap: float, *, n: int = 200, n_layers: int = 27, d: int = 2304, nuisance: float = 0.0,
    seed: int = 0,
) -> Planted:  # fmt: skip
    """Noise of variance 1 in every dimension, poles `gap` apart, a nuisance of higher variance.

    One positive and one negative for each of n / 20 questions × 10 instruction pairs.
    """
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n) < n // 2
    questions, instructions = np.arange(n) // 10 % (n // 20), np.arange(n) % 10
    values = rng.standard_normal((n, n_layers, d), dtype=np.float32)
    axes = rng.standard_normal((2, n_layers, d)).astype(np.float32)
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    values += np.where(is_positive, gap / 2, -gap / 2)[:, None, None].astype(np.float32) * axes[0]
    values += nuisance * rng.standard_normal((n, n_layers, 1), dtype=np.float32) * axes[1]
    return Planted(torch.from_numpy(values), is_positive, questions, instructions, axes[0], axes[1])


def texts(n_words: Any, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(count))) for count in n_words]


def examine(
    data: Planted,
    layers: list[int],
    responses: list[str],
    methods: tuple[VectorMethod, ...] = METHODS,
) -> dict[str, CheckResult]:
    """The whole procedure, from activations to the checks on vectors."""
    split = split_examples(*data.given[1:])
    examples = LabelledExamples(data.activations, split, responses)
    checks = check_vectors(measure_vectors(examples, layers, methods), Thresholds())
    return {check.name: check for check in checks}


@pytest.mark.slow
def test_a_direction_is_recovered_beside_a_nuisance_of_a_hundred_times_the_variance() -> None:
    data = planted(24.0, nuisance=10.0)
    assert data.activations.shape == (200, 27, 2304)
    vectors = extract_vectors(
        data.activations, data.is_positive, data.instructions, layers=range(27), methods=METHODS,
        scale="unit",
    )  # fmt: skip

    def cosines(method: str, axes: Any) -> Any:
        return np.array([
            v.vector.double().numpy() @ axes[v.layer] for v in vectors if v.method == method
        ])  # fmt: skip

    # No method can do better than what noise leaves of the difference of two means.
    theory = 24 / np.sqrt(24**2 + 4 / 200 * (2303 + 10**2))
    assert cosines("mean_diff", data.direction).mean() == pytest.approx(theory, abs=0.003)
    # Stated in docs/extraction_methods.md.
    floors = {"mean_diff": 0.94, "probe": 0.94, "gradient": 0.94, "ica": 0.80}
    for method, floor in floors.items():
        found = cosines(method, data.direction)
        print(f"{method}: {found.mean():.3f} [{found.min():.3f}, {found.max():.3f}]")
        assert found.min() > floor, method
        assert np.abs(cosines(method, data.nuisance)).max() < 0.25, method
    between = cosines_between_methods(vectors)
    assert len(between) == 27 * 6
    assert all(found.cosine > 0.8 for found in between)


@pytest.mark.parametrize("gap", [3.0, 6.0])
def test_held_out_figures_are_those_of_theory(gap: float) -> None:
    """Along the estimated direction the poles are gap·cos apart, and the noise has variance 1."""
    data = planted(gap, n_layers=8)
    separation = measure_separation(*data.given, layers=range(8), methods=["mean_diff"])
    # Four fifths of the pairs and two thirds of the questions remain for the vector.
    n_training = 200 * 4 / 5 * 2 / 3
    effect = gap * gap / np.sqrt(gap**2 + 4 / n_training * 2303)
    normal = NormalDist()
    expected = {
        "effect_size": (effect, 0.1),
        "separation": (effect, 0.1),
        "auroc": (normal.cdf(effect / np.sqrt(2)), 0.025),
        "accuracy": (normal.cdf(effect / 2), 0.025),
    }
    scores = [score for score in separation.scores if score.method == "mean_diff"]
    for name, (value, tolerance) in expected.items():
        estimates = [getattr(score, name) for score in scores]
        mean = np.mean([estimate.value for estimate in estimates])
        assert mean == pytest.approx(value, abs=tolerance), name
        # Of eight 95% intervals, most hold the figure of theory.
        assert sum(each.low <= value <= each.high for each in estimates) >= 6, name
    assert all((score.train_accuracy or 0) > (score.accuracy.value or 1) for score in scores)


def test_random_labels_are_learnt_by_heart_and_not_found_again() -> None:
    data = planted(0.0, n_layers=3)
    vectors = extract_vectors(
        data.activations, data.is_positive, data.instructions, layers=[1, 2], methods=METHODS
    )
    separation = measure_separation(*data.given, layers=[1, 2], methods=METHODS)
    for vector in vectors:
        if vector.method != "ica":
            assert vector.train_accuracy == 1.0, vector.method
    for score in separation.scores:
        assert 0.35 < (score.accuracy.value or 0) < 0.65
        if score.method in {"probe", "gradient"}:
            assert score.train_accuracy == 1.0
    check = check_accuracy(separation, [v.train_accuracy for v in vectors], Thresholds())
    assert check.verdict == "fail"
    assert check.figures["best_train_accuracy"] == 1.0


def test_a_planted_trait_passes_everything() -> None:
    data = planted(16.0, n_layers=3, d=600)
    data.activations[:, 0] = planted(0.0, n_layers=1, d=600, seed=1).activations[:, 0]
    lengths = np.random.default_rng(0).integers(20, 100, 200)
    checks = examine(data, [1, 2], texts(lengths), ("mean_diff", "probe", "gradient"))
    assert {name: check.verdict for name, check in checks.items()} == dict.fromkeys(
        ["norm", "accuracy", "confounds", "chance", "stability"], "pass"
    )
    assert judge_vector(list(checks.values()))[0] == "usable"
    assert abs(float(checks["confounds"].figures["length_share"] or 0)) < 0.1


def test_a_planted_length_confound_is_called_one() -> None:
    """The direction stands for the logarithm of the length; the poles differ in nothing else."""
    data = planted(0.0, n_layers=2, d=300)
    rng = np.random.default_rng(0)
    lengths = np.exp(np.where(data.is_positive, 3.4, 4.6) + 0.3 * rng.standard_normal(200))
    responses = texts(np.maximum(lengths.round(), 3))
    characters = np.log1p([len(text) for text in responses])
    centred = characters - characters.mean()
    shift = torch.from_numpy(20 * centred[:, None, None] * data.direction)
    activations = data.activations + shift.float()
    activations[:, 0] = data.activations[:, 0]
    checks = examine(data._replace(activations=activations), [1], responses, ("mean_diff",))
    # Nothing but the confounds check could know.
    assert checks["accuracy"].verdict == checks["chance"].verdict == "pass"
    confounds = checks["confounds"]
    assert confounds.verdict == "fail"
    assert "Length: read" in confounds.advice
    assert float(confounds.figures["length_accuracy"] or 0) > 0.9
    assert float(confounds.figures["length_share"] or 0) == pytest.approx(1.0, abs=0.15)
    assert judge_vector(list(checks.values()))[0] == "not_usable"


def accuracy(separation: Separation) -> float:
    assert separation.probe_accuracy.value is not None
    return separation.probe_accuracy.value


def test_vectors_of_the_wordings_are_nothing_on_instructions_that_they_have_not_seen() -> None:
    """Each instruction moves the activations in its own way; the poles share nothing."""
    data = planted(0.0, n_layers=2, d=300)
    own = np.random.default_rng(0).standard_normal((2, 10, 300))
    moved = data.activations[:, 1] + torch.from_numpy(
        own[data.is_positive.astype(int), data.instructions]
    )
    activations = torch.stack([data.activations[:, 0], moved.float()], dim=1)
    known = activations, data.is_positive, data.questions
    unaware = measure_separation(*known, layers=[1], methods=["mean_diff"])
    separation = measure_separation(*known, data.instructions, layers=[1], methods=["mean_diff"])
    assert (unaware.n_folds, separation.n_folds) == (5, 15)
    assert accuracy(unaware) > 0.95
    assert accuracy(separation) < 0.7
