"""Shared beginnings are computed once, and change nothing but the cost."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BloomConfig, MambaConfig, MptConfig

from tests.models.architectures import ARCHITECTURES, MULTIMODAL, make_model, make_tokenizer
from tests.models.hooks import counting_tokens
from traitvec_core.models.key_value_support import has_plain_cache
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.loading import model_class
from traitvec_core.models.prompt_reader import prompt_reader
from traitvec_core.models.shared_prefixes import shared_prefixes

TOKENS = [7, 11, 13, 300]
# Distances instead of positions, a state instead of keys and values.
OTHERS: dict[str, Any] = {
    "bloom": BloomConfig(hidden_size=48, n_layer=3, n_head=4),
    "mpt": MptConfig(d_model=48, n_layers=3, n_heads=4, max_seq_len=512),
    "mamba": MambaConfig(hidden_size=48, num_hidden_layers=2, state_size=4),
}


def model_of(architecture: str) -> LanguageModel:
    if architecture not in OTHERS:
        return make_model(architecture)
    tokenizer = make_tokenizer()
    config = OTHERS[architecture]
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    model = model_class(config).from_config(config, dtype=torch.float32)
    return LanguageModel(f"tiny-{architecture}", model.eval(), tokenizer)


def random_ids(n: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 400, (n,), generator=generator).tolist()


def prompts_of_two_rubrics() -> list[list[int]]:
    """Beginnings longer than the sliding window (8), and rows of very different lengths."""
    return [
        random_ids(30 + 9 * rubric, seed=rubric)
        + random_ids(14 + 3 * question, seed=10 + 3 * rubric + question)
        + random_ids(1 + (7 * answer) % 23, seed=100 + 9 * rubric + 3 * question + answer)
        for rubric in range(2)
        for question in range(3)
        for answer in range(7)
    ] + [random_ids(40, seed=999), random_ids(1, seed=998)]


def alone(model: LanguageModel, sequence: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.model(input_ids=torch.tensor([list(sequence)])).logits
    return logits[0, -1].softmax(-1)[TOKENS]


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MULTIMODAL, "bloom", "mpt", "mamba"])
def test_probabilities_are_those_of_each_sequence_alone(architecture: str) -> None:
    model = model_of(architecture)
    assert has_plain_cache(model) == (architecture != "mamba")
    prompts = prompts_of_two_rubrics()
    reader = prompt_reader(model, prompts, TOKENS, goes_on=True)
    # Mamba reads padding too, whatever the mask; alone, a row has none.
    batches = reader.batches(1 if architecture == "mamba" else 9)
    assert sorted(i for batch in batches for i in batch) == list(range(len(prompts)))
    close = {"rtol": 2e-4, "atol": 1e-6}
    for batch in batches:
        probabilities = reader.read(batch)
        assert probabilities.shape == (len(batch), len(TOKENS))
        for i, row in zip(batch, probabilities, strict=True):
            torch.testing.assert_close(row, alone(model, prompts[i]), **close)
        rows = [place for place in range(len(batch)) for _ in range(place % 3)]
        for length in (1, 2):
            if not rows:
                continue
            ids = [random_ids(length, seed=place) for place in range(len(rows))]
            for place, new, row in zip(rows, ids, reader.go_on(rows, ids), strict=True):
                expected = alone(model, prompts[batch[place]] + new)
                torch.testing.assert_close(row, expected, **close)


def test_each_shared_token_is_computed_once() -> None:
    model = make_model()
    prompts = prompts_of_two_rubrics()
    distinct = {tuple(ids[:end]) for ids in prompts for end in range(1, len(ids) + 1)}
    with counting_tokens(model) as counts:
        reader = prompt_reader(model, prompts, TOKENS, goes_on=False)
        for batch in reader.batches(4):
            reader.read(batch)
    # A little more: padding, and beginnings too short to be worth a row.
    assert sum(counts) < 1.25 * len(distinct)
    assert sum(counts) < 0.5 * sum(map(len, prompts))


def test_batches_are_bounded_by_rows_and_by_tokens() -> None:
    model = make_model()
    prompts = [random_ids(100 + i % 7, seed=i) for i in range(60)]
    for most_rows in (1, 4, None):
        batches = prompt_reader(model, prompts, TOKENS, goes_on=False).batches(most_rows)
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= (most_rows or 60)
        assert max(len(b) * max(len(prompts[i]) for i in b) for b in batches) <= 2_048
        assert len(batches) > 1
        # The shortest first, for little padding.
        lengths = [len(prompts[i]) for batch in batches for i in batch]
        assert all(first <= second for first, second in pairwise(lengths))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60), max_size=40), st.data())
def test_prefixes_are_shared_shorter_and_within_the_limit(
    endings: list[list[int]], data: st.DataObject
) -> None:
    beginnings = [random_ids(80, seed=0), random_ids(30, seed=1), []]
    sequences = [data.draw(st.sampled_from(beginnings)) + ending for ending in endings]
    limit = data.draw(st.sampled_from([0, 50, 10_000]))
    shared = shared_prefixes(sequences, limit)
    assert sum(len(prefix.ids) - prefix.begin for prefix in shared.prefixes) <= limit
    for number, prefix in enumerate(shared.prefixes):
        if prefix.parent is None:
            assert prefix.begin == prefix.level == 0
        else:
            parent = shared.prefixes[prefix.parent]
            assert prefix.parent < number
            assert prefix.level == parent.level + 1
            assert prefix.ids[: prefix.begin] == parent.ids
    for ids, of in zip(sequences, shared.of, strict=True):
        if of is not None:
            prefix = shared.prefixes[of].ids
            assert len(prefix) < len(ids)
            assert tuple(ids[: len(prefix)]) == prefix
