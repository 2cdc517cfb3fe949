"""Rows decoded at once: from the model and the machine, never from a measured time."""

import os

import pytest
import torch

from tests.models.architectures import make_model
from traitvec_core.generation.slots import default_slots
from traitvec_core.models.language_model import LanguageModel


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make_model()


def _row_bytes(model: LanguageModel, row_tokens: int) -> int:
    config = model.model.config
    return (
        2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        * model.model.dtype.itemsize * row_tokens
    )  # fmt: skip


def test_long_rows_share_the_memory_of_the_machine(model: LanguageModel) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    longest = machine // _row_bytes(model, 1)
    rows = [default_slots(model, longest // n) for n in (1, 10, 100, 1000)]
    assert rows == sorted(rows)
    # A single row is always tried, though it would need all of the memory.
    assert rows[0] == 1
    for n, slots in zip((10, 100), rows[1:], strict=False):
        assert slots * _row_bytes(model, longest // n) < machine / 2
    assert default_slots(model, 100) == default_slots(model, 100) == 128


def test_a_smaller_dtype_takes_more_long_rows(model: LanguageModel) -> None:
    long = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _row_bytes(model, 1) // 200
    wide = default_slots(model, long)
    half = make_model()
    half.model.to(torch.bfloat16)
    assert default_slots(half, long) in {2 * wide, 2 * wide + 1}
