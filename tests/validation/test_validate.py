"""The verdict in a notebook: the graph's checks on activations, quiet where there is no trait."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from traitvec_core import LabelledActivations, TraitvecWarning, Validation, extract, validate
from traitvec_core.experiment import Thresholds, VectorMethod

METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe")
QUESTIONS, PAIRS, DIM = 10, 8, 24


def examples(strength: float, seed: int = 0) -> LabelledActivations:
    """Every question with every instruction pair, once per pole, with a planted direction."""
    rng = np.random.default_rng(seed)
    n = QUESTIONS * PAIRS
    is_positive = np.arange(2 * n) < n
    questions, instructions = (np.tile(values, 2) for values in np.divmod(np.arange(n), PAIRS))
    values = rng.normal(size=(2 * n, 3, DIM))
    direction = rng.normal(size=DIM)
    direction /= np.linalg.norm(direction)
    values[:, 1:] += np.where(is_positive, 0.5, -0.5)[:, None, None] * strength * direction
    words = ("rain", "snow", "bread", "chess", "honey", "sleep", "music", "travel")
    responses = [" ".join(rng.choice(words, size=6)) for _ in range(2 * n)]
    return LabelledActivations(
        "planted", "none", torch.tensor(values).float(), is_positive, questions, instructions,
        responses,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Validation:
    return validate(examples(6.0), methods=METHODS)


def verdicts(validation: Validation) -> dict[str, str]:
    return {check.name: check.verdict for check in validation.checks}


def test_a_planted_trait_passes_what_activations_can_show(planted: Validation) -> None:
    found = verdicts(planted)
    assert set(found) == {"accuracy", "norm", "chance", "stability", "confounds"}
    assert found["accuracy"] == found["chance"] == "pass"
    assert planted.recommended is not None
    assert planted.recommended.layer in {1, 2}
    assert planted.separation.of("mean_diff", 1) is not None


@pytest.mark.slow
def test_noise_is_not_usable_whatever_its_labels() -> None:
    # Of eight draws, chance alone could let one pass a check; all of them, never.
    judged = [validate(examples(0.0, seed), methods=METHODS).verdict for seed in range(8)]
    assert "usable" not in judged
    assert judged.count("not_usable") >= 7


def test_the_recommendation_carries_the_verdict(planted: Validation) -> None:
    assert planted.recommended is not None
    assert planted.recommended.verdict == planted.verdict
    assert planted.recommended.reasons == list(planted.reasons)


def test_what_was_not_tested_is_said_and_never_counts_as_usable(planted: Validation) -> None:
    assert any("steering was not evaluated" in reason for reason in planted.reasons)
    without = validate(replace(examples(6.0), responses=None, instructions=None), methods=METHODS)
    assert "confounds" not in verdicts(without)
    assert any(reason.startswith("confounds: not tested") for reason in without.reasons)
    assert without.verdict != "usable"


def test_rows_may_be_in_any_order(planted: Validation) -> None:
    given = examples(6.0)
    order = np.random.default_rng(5).permutation(len(given.is_positive))
    assert given.responses is not None
    assert given.instructions is not None
    mixed = LabelledActivations(
        given.trait, given.model, given.values[order], given.is_positive[order],
        given.questions[order] * 7 + 3, given.instructions[order],
        [given.responses[row] for row in order],
    )  # fmt: skip
    found = validate(mixed, methods=METHODS)
    assert verdicts(found) == verdicts(planted)
    one, other = (v.separation.of("mean_diff", 1) for v in (found, planted))
    assert one is not None
    assert other is not None
    assert one.auroc.value == pytest.approx(other.auroc.value, abs=0.05)


def test_it_prints_as_text(planted: Validation) -> None:
    text = repr(planted)
    assert text.splitlines()[0] in {"usable", "with care", "NOT USABLE"}
    for check in planted.checks:
        assert f"{check.name}: {check.summary}" in text
    assert planted.recommended is not None
    assert planted.recommended.why in text


def test_thresholds_are_those_that_are_given() -> None:
    strict = validate(examples(6.0), methods=METHODS, thresholds=Thresholds(accuracy=1.0))
    assert verdicts(strict)["accuracy"] == "fail"
    assert strict.verdict == "with_care"


def test_extract_hands_out_the_judged_vector_with_its_verdict() -> None:
    noise = examples(0.0)
    judged = validate(noise, methods=METHODS)
    with pytest.warns(TraitvecWarning, match="NOT USABLE"):
        vector = extract(noise, validation=judged)
    assert judged.recommended is not None
    assert (vector.method, vector.layer) == judged.recommended.place
    assert (vector.verdict, vector.reasons) == ("not_usable", judged.reasons)
    assert math.isfinite(vector.spread)
    other = next(layer for layer in (1, 2) if layer != vector.layer)
    named = extract(noise, "mean_diff", other, validation=judged)
    assert (named.verdict, named.reasons) == (None, ("not the recommended vector: no verdict",))
