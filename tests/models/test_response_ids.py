"""Activations are read from the tokens that were generated, in the context where they were."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.architectures import make_model
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.generation.request import Generated
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.local_reader import residual_stream_hooks
from traitvec_core.models.response_ids import ResponseIds

NAMES = [str(i) for i in range(12)]
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=12, seed=3)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make_model("llama")


@pytest.fixture(scope="module")
def texts(model: LanguageModel) -> list[tuple[str, str]]:
    return [(prompt, row.response) for prompt, row in _drawn(model)]


@pytest.fixture(scope="module")
def ids(model: LanguageModel) -> list[tuple[int, ...]]:
    return [row.ids or () for _, row in _drawn(model)]


def _drawn(model: LanguageModel) -> list[tuple[str, Generated]]:
    prompts = [model.prompt(f"What is number {name}?" * (int(name) % 3 + 1)) for name in NAMES]
    done: dict[str, Generated] = {}
    generate_texts(
        model, NAMES, prompts, SAMPLING,
        on_finished=lambda rows: done.update({row.name: row for row in rows}),
    )  # fmt: skip
    return [(prompt, done[name]) for name, prompt in zip(NAMES, prompts, strict=True)]


def mean_of_exactly(
    model: LanguageModel, before: Sequence[int], counted: Sequence[int]
) -> torch.Tensor:
    """The mean over `counted` after `before`, in one plain forward pass: `[n_layers, dim]`."""
    rows: dict[int, torch.Tensor] = {}

    def receive(layer: int, hidden: torch.Tensor) -> None:
        rows[layer] = hidden[0, len(before) :].clone()

    with torch.inference_mode(), residual_stream_hooks(model, receive):
        model.model(input_ids=torch.tensor([[*before, *counted]]))
    special = torch.tensor([token in model.tokenizer.all_special_ids for token in counted])
    return torch.stack([rows[layer][~special].mean(0) for layer in range(model.n_layers)])


def is_same_again(model: LanguageModel, text: tuple[str, str], ids: Sequence[int]) -> bool:
    encoded = model.encode_response(*text)
    return encoded.ids[encoded.n_prompt :] == list(ids)


def test_ids_are_read_as_they_were_generated(
    model: LanguageModel, texts: list[tuple[str, str]], ids: list[tuple[int, ...]]
) -> None:
    means = capture_means(model, texts, response_ids=ids)
    expected = torch.stack(
        [
            mean_of_exactly(model, model.encode_prompt(prompt), row)
            for (prompt, _), row in zip(texts, ids, strict=True)
        ]
    )
    torch.testing.assert_close(means, expected, rtol=1e-4, atol=1e-4)


def test_a_text_tokenised_again_is_read_differently_where_its_tokens_differ(
    model: LanguageModel, texts: list[tuple[str, str]], ids: list[tuple[int, ...]]
) -> None:
    exact = capture_means(model, texts, response_ids=ids)
    again = capture_means(model, texts)
    same = torch.tensor([is_same_again(model, *pair) for pair in zip(texts, ids, strict=True)])
    assert not same.all()
    distance = (exact - again).norm(dim=-1) / exact.norm(dim=-1)
    assert (distance[~same].amax(1) > 0.01).all()


def test_ids_that_are_the_texts_own_tokens_change_nothing(
    model: LanguageModel, texts: list[tuple[str, str]]
) -> None:
    own = []
    for text in texts:
        encoded = model.encode_response(*text)
        own.append(encoded.ids[encoded.n_prompt :])
    assert torch.equal(capture_means(model, texts, response_ids=own), capture_means(model, texts))
    unknown = [None] * len(texts)
    assert torch.equal(
        capture_means(model, texts, response_ids=unknown), capture_means(model, texts)
    )


def test_means_from_ids_do_not_depend_on_batches_order_or_padding(
    model: LanguageModel, texts: list[tuple[str, str]], ids: list[tuple[int, ...]]
) -> None:
    side = model.tokenizer.padding_side
    expected = capture_means(model, texts, response_ids=ids, batch_size=64)

    @settings(max_examples=12)
    @given(
        order=st.permutations(range(len(texts))),
        batch_size=st.sampled_from([1, 2, 5, None]),
        padding=st.sampled_from(["left", "right"]),
        known=st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)),
    )
    def check(order: list[int], batch_size: int | None, padding: str, known: list[bool]) -> None:
        model.tokenizer.padding_side = padding
        means = capture_means(
            model, [texts[i] for i in order], batch_size=batch_size,
            response_ids=[ids[i] if known[i] else None for i in order],
        )  # fmt: skip
        kept = [place for place, i in enumerate(order) if known[i]]
        torch.testing.assert_close(
            means[kept], expected[[order[place] for place in kept]], rtol=1e-4, atol=1e-4
        )

    try:
        check()
    finally:
        model.tokenizer.padding_side = side


def test_thinking_is_context_and_not_averaged(
    model: LanguageModel, texts: list[tuple[str, str]], ids: list[tuple[int, ...]]
) -> None:
    thought = [ResponseIds(row, n_thinking=5) for row in ids]
    names = ("response_mean", "response_first_2", "prompt_avg", "prompt_last")
    means = capture_means(model, texts, response_ids=thought, positions=names)
    for number, ((prompt, _), row) in enumerate(zip(texts, ids, strict=True)):
        before = [*model.encode_prompt(prompt), *row[:5]]
        exact = mean_of_exactly(model, before, row[5:])
        torch.testing.assert_close(means["response_mean"][number], exact, rtol=1e-4, atol=1e-4)
    # The prompt ends where it did, before the thinking.
    plain = capture_means(model, texts, response_ids=ids, positions=names)
    for name in ("prompt_avg", "prompt_last"):
        torch.testing.assert_close(means[name], plain[name], rtol=1e-4, atol=1e-4)
    nothing_else = [ResponseIds(row, n_thinking=len(row)) for row in ids]
    assert capture_means(model, texts, response_ids=nothing_else).isnan().all()


def test_the_same_response_after_the_same_prompt_is_the_same(
    model: LanguageModel, texts: list[tuple[str, str]], ids: list[tuple[int, ...]]
) -> None:
    """The null of reading under the opposite instruction."""
    own = capture_means(model, texts, response_ids=ids)
    assert torch.equal(capture_means(model, texts, response_ids=ids), own)
    others = [(model.prompt("What?", "Be rude."), response) for _, response in texts]
    other = capture_means(model, others, response_ids=ids)
    assert (other != own).flatten(1).any(1).all()
    # The embeddings are the same tokens' in any context.
    torch.testing.assert_close(other[:, 0], own[:, 0], rtol=1e-5, atol=1e-5)


def test_ids_of_another_number_of_texts_are_an_error(
    model: LanguageModel, texts: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError, match="zip"):
        capture_means(model, texts, response_ids=[None])
