"""What a dose breaks: nothing at a coefficient of 0, and more with more."""

import pandas as pd
import pytest
import torch

from tests.steering_evaluation.tiny import VECTORS, evaluate, fingerprint, tiny, usual
from traitvec_core.models.local_reader import LocalReader
from traitvec_core.models.steering import Addition
from traitvec_core.steering_evaluation.damage import cosine, measure_damage
from traitvec_core.steering_evaluation.result import Damage

VECTOR = VECTORS[0].vector
FLOWING = pd.DataFrame({"response": ["one two three four", "the end of it all", ""]})
LOOPING = pd.DataFrame({"response": ["and so " * 40, "one two three four", "one two three four"]})


def damage(coefficient: float, steered: pd.DataFrame = FLOWING) -> Damage:
    return measure_damage(LocalReader(tiny()), Addition(1, VECTOR, coefficient), steered, FLOWING)


def test_a_coefficient_of_0_changes_nothing() -> None:
    before = fingerprint(tiny())
    none = damage(0.0)
    assert none.kl_per_token == 0
    assert none.perplexity_steered == none.perplexity_unsteered
    assert (none.perplexity_unsteered or 0) > 1
    assert none.looping_steered == none.looping_unsteered == 0
    assert none.distinct_2_steered == none.distinct_2_unsteered == 1
    assert none.refusal_cosine is None
    assert torch.equal(fingerprint(tiny()), before)


def test_a_larger_dose_changes_the_predictions_more() -> None:
    divergences = [damage(coefficient).kl_per_token or 0 for coefficient in (0.0, 0.5, 2.0)]
    assert divergences == sorted(set(divergences))


def test_kl_and_perplexity_are_those_of_the_definition() -> None:
    model, text = tiny(), "A bridge of stone."
    ids = torch.tensor([model.encode_prompt(text)])
    found = measure_damage(
        LocalReader(model), Addition(1, VECTOR, 1.0), FLOWING, FLOWING, texts=[text]
    )
    before = torch.log_softmax(model.model(input_ids=ids).logits[0].float(), -1)
    surprise = -before[range(ids.shape[1] - 1), ids[0, 1:]].mean()
    assert found.n_tokens == ids.shape[1] - 1
    assert found.perplexity_unsteered == pytest.approx(float(surprise.detach().exp()), rel=1e-4)


def test_repetition_is_seen() -> None:
    found = damage(0.0, LOOPING)
    assert found.looping_steered == pytest.approx(1 / 3)
    assert found.distinct_2_steered is not None
    assert found.distinct_2_steered < 0.75
    empty = damage(0.0, pd.DataFrame({"response": ["", "word"]}))
    assert empty.distinct_2_steered is None


def test_the_cosine_is_one_with_itself_and_missing_across_widths() -> None:
    assert cosine(VECTOR, 3 * VECTOR) == pytest.approx(1.0)
    assert cosine(VECTOR, torch.zeros_like(VECTOR)) is None
    assert cosine(VECTOR, torch.ones(3)) is None


def test_an_evaluation_measures_its_chosen_dose() -> None:
    found, chosen = usual().damage, usual().tested
    assert found is not None
    assert chosen is not None
    assert (found.kl_per_token or 0) > 0
    assert found.refusal_cosine is None
    own = {vector.layer: vector.vector for vector in VECTORS if vector.method == chosen.method}
    opposite = evaluate(refusal_vector=lambda layer: -own[layer]).damage
    assert opposite is not None
    assert opposite.refusal_cosine == pytest.approx(-1.0)
    assert opposite.model_copy(update={"refusal_cosine": None}) == found


def test_the_added_norm_is_a_share_of_the_residual_norm() -> None:
    chosen = usual().tested
    assert chosen is not None
    relative = next(
        v.relative_norm for v in VECTORS if (v.method, v.layer) == (chosen.method, chosen.layer)
    )
    assert chosen.added_norm == pytest.approx(chosen.coefficient * relative)
