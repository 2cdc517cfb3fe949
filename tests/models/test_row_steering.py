"""Each row of a batch steered by its own interventions, as if it were steered alone."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.architectures import ARCHITECTURES, MULTIMODAL, make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.models.interventions import (
    Ablation,
    Addition,
    Cap,
    Intervention,
    Positions,
    Projection,
)
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.steering import steer

PLACES: tuple[Positions, ...] = ("all", "prompt", "last", "response")
Rows = Sequence[Sequence[Intervention]]


def vector(model: LanguageModel, seed: int) -> torch.Tensor:
    return 3 * torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(seed))


def batch_of(model: LanguageModel, n: int) -> dict[str, torch.Tensor]:
    """Texts of different lengths, padded on the left."""
    texts = [model.prompt(f"{'Please. ' * (i % 4)}Is it {i}?") for i in range(n)]
    ids = [model.encode_prompt(text) for text in texts]
    width = max(len(row) for row in ids)
    pads = [width - len(row) for row in ids]
    rows = [[model.pad_token_id] * pad + row for pad, row in zip(pads, ids, strict=True)]
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
    position = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": torch.tensor(rows), "attention_mask": mask, "position_ids": position}


def logits(model: LanguageModel, batch: dict[str, Any]) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model.model(**batch).logits
    return result


def rows_of(model: LanguageModel) -> Rows:
    """Every kind of intervention, at every layer, alone and in both orders; and rows without."""
    top = model.n_layers - 1
    a, b = vector(model, 1), vector(model, 2)
    return [
        [Addition(0, a)],
        [],
        [Addition(top, a, 1.7), Ablation(top, b)],
        [Ablation(top, b), Addition(top, a, 1.7)],
        [Ablation(layer, a) for layer in range(model.n_layers)],
        [Cap(1, b, -0.1, 0.2), Cap(1, a, high=0.0)],
        [Projection(1, a, 4.0), Addition(2, b, -0.5), Addition(2, a)],
        [],
        [Addition(2, b, -0.5)],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MULTIMODAL])
def test_a_row_has_the_bits_that_it_has_when_every_row_is_steered_like_it(
    architecture: str, dtype: torch.dtype
) -> None:
    model = make_model(architecture)
    torch.nn.Module.to(model.model, dtype)
    rows = rows_of(model)
    batch = batch_of(model, len(rows))
    with steer(model, rows=rows):
        together = logits(model, batch)
    plain = logits(model, batch)
    for number, items in enumerate(rows):
        with steer(model, *items):
            alike = logits(model, batch)
        own = batch["attention_mask"][number].bool()
        assert torch.equal(together[number][own], alike[number][own])
        assert torch.equal(together[number][own], plain[number][own]) == (not items)


kinds = st.sampled_from(["add", "ablate", "cap", "project"])
items = st.tuples(kinds, st.integers(0, 3), st.integers(0, 5), st.sampled_from(PLACES))


@settings(max_examples=25)
@given(st.lists(st.lists(items, max_size=4), min_size=1, max_size=5))
def test_any_rows_in_any_order_at_any_positions(
    drawn: list[list[tuple[str, int, int, Positions]]],
) -> None:
    model = make_model("gemma2")

    def one(kind: str, layer: int, seed: int, positions: Positions) -> Intervention:
        along = vector(model, seed)
        if kind == "add":
            return Addition(layer, along, 0.5, positions=positions)
        if kind == "ablate":
            return Ablation(layer, along, positions=positions)
        if kind == "cap":
            return Cap(layer, along, low=0.5, positions=positions)
        return Projection(layer, along, 2.0, positions=positions)

    rows = [[one(*item) for item in row] for row in drawn]
    batch = batch_of(model, len(rows))
    lengths = [int(n) - 2 for n in batch["attention_mask"].sum(1)]
    with steer(model, rows=rows, prompt_lengths=lengths):
        together = logits(model, batch)
    for number, row in enumerate(rows):
        with steer(model, *row, prompt_lengths=lengths):
            alike = logits(model, batch)
        own = batch["attention_mask"][number].bool()
        assert torch.equal(together[number][own], alike[number][own])


def test_what_every_row_gets_comes_before_what_a_row_gets() -> None:
    model = make_model()
    batch = batch_of(model, 2)
    add, remove = Addition(2, vector(model, 1)), Ablation(2, vector(model, 1))
    with steer(model, add, rows=[[remove], []]):
        together = logits(model, batch)
    with steer(model, add, remove):
        assert torch.equal(together[0], logits(model, batch)[0])
    with steer(model, add), steer(model, rows=[[remove], []]):
        assert torch.equal(together, logits(model, batch))


def test_a_row_whose_stream_is_not_finite_harms_no_other() -> None:
    model = make_model()
    batch = batch_of(model, 3)
    huge = Addition(1, torch.full((model.hidden_dim,), 3e38), 1.0)
    rows: Rows = [[huge, Addition(1, huge.vector)], [], [Ablation(2, vector(model, 1))]]
    with steer(model, rows=rows):
        together = logits(model, batch)
    plain = logits(model, batch)
    assert not torch.isfinite(together[0]).all()
    assert torch.equal(together[1], plain[1])
    assert torch.isfinite(together[2]).all()


def test_transformers_own_generate_takes_a_row_each() -> None:
    model = make_model()
    batch = batch_of(model, 3)
    rows: Rows = [[Addition(2, vector(model, 1), positions="response")], [], []]
    own: Any = model.model
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    plain = own.generate(**inputs, **options)
    with steer(model, rows=rows):
        steered = own.generate(**inputs, **options)
    with steer(model, *rows[0]):
        alike = own.generate(**inputs, **options)
    assert torch.equal(steered[0], alike[0])
    assert not torch.equal(steered[0], plain[0])
    assert torch.equal(steered[1:], plain[1:])


@pytest.mark.parametrize("n", [1, 3])
def test_a_batch_of_another_size_is_one_clear_line(n: int) -> None:
    model = make_model()
    rows: Rows = [[Addition(2, vector(model, 1))], []]
    message = f"steering is set for 2 rows, but the forward pass has {n}; "
    with pytest.raises(TraitvecError, match=message) as error, steer(model, rows=rows):
        logits(model, batch_of(model, n))
    assert "\n" not in str(error.value)
    logits(model, batch_of(model, n))


def test_an_intervention_that_does_not_fit_is_refused_in_any_row() -> None:
    model = make_model()
    rows: Rows = [[], [Addition(9, vector(model, 1))]]
    with pytest.raises(TraitvecError, match="Addition at layer 9"), steer(model, rows=rows):
        raise AssertionError
