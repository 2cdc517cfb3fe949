"""Stage 2 against transformers' own hidden states, on every architecture."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.core.architectures import ARCHITECTURES, make_model
from traitvec_core.activations import capture_means, pack, residual_stream_hooks
from traitvec_core.language_model import LanguageModel

RESPONSES = [
    "I cannot help with that.",
    "Yes! " * 12,
    "It depends on what you want, really. The moon is bigger than the quick brown fox, I think.",
    "42",
    "naïve café ☕",
    "I would be glad to help! What should I cook?",
]


def texts_for(model: LanguageModel) -> list[tuple[str, str]]:
    instructions = ["Be kind.", "Be as short as you possibly can, please.", None]
    return [
        (model.prompt(f"Question {i}?" * (i + 1), instructions[i % 3]), response)
        for i, response in enumerate(RESPONSES)
    ]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make_model(request.param)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return make_model("llama")


def rows_of(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    """`[n_layers, tokens, hidden_dim]` of one text alone."""
    rows: list[torch.Tensor | None] = [None] * model.n_layers

    def receive(row: int, hidden: torch.Tensor) -> None:
        rows[row] = hidden[0].clone()

    with torch.inference_mode(), residual_stream_hooks(model, receive):
        model.model(input_ids=torch.tensor([ids]))
    return torch.stack([row for row in rows if row is not None])


def hidden_states_of(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        output = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return torch.stack([state[0] for state in output.hidden_states])


def final_norm(model: LanguageModel) -> torch.nn.Module:
    decoder: Any = model.decoder
    norm = decoder.final_layer_norm if hasattr(decoder, "final_layer_norm") else decoder.norm
    assert isinstance(norm, torch.nn.Module)
    return norm


def test_rows_are_those_of_transformers_and_the_last_is_before_the_final_norm(
    model: LanguageModel,
) -> None:
    ids = model.encode_response(*texts_for(model)[2]).ids
    rows, states = rows_of(model, ids), hidden_states_of(model, ids)
    assert rows.shape == states.shape == (model.n_layers, len(ids), model.hidden_dim)
    assert model.n_layers == model.model.config.num_hidden_layers + 1
    torch.testing.assert_close(rows[:-1], states[:-1])
    with torch.inference_mode():
        torch.testing.assert_close(final_norm(model)(rows[-1]), states[-1])
    assert (rows[-1] - states[-1]).abs().max() > 0.1
    # Each block did something: no row is a copy of the one before.
    assert ((rows[1:] - rows[:-1]).abs().amax(dim=(1, 2)) > 1e-3).all()


def naive_means(model: LanguageModel, texts: list[tuple[str, str]]) -> torch.Tensor:
    """One text at a time, prompt and response encoded apart, averaged with a plain mean."""
    means = []
    for prompt, response in texts:
        before = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        after = model.tokenizer(response, add_special_tokens=False)["input_ids"]
        assert before[0] == model.tokenizer.bos_token_id
        means.append(rows_of(model, before + after)[:, len(before) :].mean(dim=1))
    return torch.stack(means)


def test_means_equal_a_reference_at_any_batch_size(model: LanguageModel) -> None:
    texts = texts_for(model)
    expected = naive_means(model, texts)
    for batch_size in (1, 3, 64, None):
        found = capture_means(model, texts, batch_size=batch_size)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_means_do_not_depend_on_order_padding_side_or_pad_token() -> None:
    model = make_model("gemma2")
    texts = texts_for(model)
    expected = capture_means(model, texts, batch_size=64)
    backwards = capture_means(model, texts[::-1], batch_size=64)
    torch.testing.assert_close(backwards.flip(0), expected, rtol=1e-4, atol=1e-4)
    for side, pad in (
        ("left", "<pad>"),
        ("right", "<pad>"),
        ("left", "<|start|>"),
        ("right", "</s>"),
    ):
        model.tokenizer.padding_side = side
        model.tokenizer.pad_token = pad
        assert model.pad_token_id == model.tokenizer.convert_tokens_to_ids(pad)
        assert torch.equal(capture_means(model, texts, batch_size=64), expected)


@pytest.fixture
def spoiled(llama: LanguageModel) -> Iterator[LanguageModel]:
    """A model whose BOS, EOS, pad and end-of-turn tokens have huge embeddings."""
    weight = llama.model.get_input_embeddings().get_parameter("weight")
    before = weight.detach().clone()
    with torch.no_grad():
        weight[llama.tokenizer.all_special_ids] = 1e3
    yield llama
    with torch.no_grad():
        weight.copy_(before)


def test_no_special_token_enters_a_mean(spoiled: LanguageModel) -> None:
    texts = texts_for(spoiled)
    closed = [(prompt, response + "</s>") for prompt, response in texts]
    for case in (texts, closed):
        embeddings = capture_means(spoiled, case, batch_size=64)[:, 0]
        assert embeddings.abs().max() < 10
    only_special = capture_means(spoiled, [(texts[0][0], "<|end|></s>")])
    assert only_special.isnan().all()


def test_the_prompt_matters_only_as_context(llama: LanguageModel) -> None:
    first, second = (llama.prompt("What?", instruction) for instruction in ("Be kind.", "Be rude."))
    means = capture_means(llama, [(first, RESPONSES[0]), (second, RESPONSES[0])])
    # No prompt token is averaged, so row 0 (no context yet) is the same; later rows have seen it.
    torch.testing.assert_close(means[0, 0], means[1, 0])
    assert (means[0, -1] - means[1, -1]).abs().max() > 1e-3


def test_an_empty_response_is_missing_and_disturbs_no_other(llama: LanguageModel) -> None:
    texts = texts_for(llama)
    texts.insert(2, (texts[0][0], ""))
    counts: list[int] = []
    found = capture_means(llama, texts, batch_size=4, on_batch=counts.append)
    assert found[2].isnan().all()
    kept = [i for i in range(len(texts)) if i != 2]
    torch.testing.assert_close(found[kept], capture_means(llama, [texts[i] for i in kept]))
    assert counts == [4, 6]
    assert capture_means(llama, []).shape == (0, llama.n_layers, llama.hidden_dim)


def test_hooks_are_gone_after_success_and_after_an_exception(llama: LanguageModel) -> None:
    def hook_count() -> int:
        return sum(
            len(block._forward_hooks) + len(block._forward_pre_hooks) for block in llama.blocks
        )

    capture_means(llama, texts_for(llama))
    assert hook_count() == 0

    def receive(row: int, hidden: torch.Tensor) -> None:
        raise KeyboardInterrupt

    def run_with_hooks() -> None:
        with residual_stream_hooks(llama, receive):
            assert hook_count() == len(llama.blocks) + 1
            llama.model(input_ids=torch.tensor([[1, 2, 3]]))

    with pytest.raises(KeyboardInterrupt):
        run_with_hooks()
    assert hook_count() == 0


class _TupleBlock(torch.nn.Module):
    """A decoder block as remote code still has them: it returns a tuple."""

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, None]:
        return (self.block(hidden_states, **kwargs), None)


def test_blocks_that_return_tuples() -> None:
    plain, wrapped = make_model("llama"), make_model("llama")
    decoder: Any = wrapped.decoder
    blocks = list(decoder.layers)
    decoder.layers = torch.nn.ModuleList(_TupleBlock(block) for block in blocks)
    rows: dict[int, torch.Tensor] = {}
    with torch.inference_mode(), residual_stream_hooks(wrapped, rows.__setitem__):
        hidden = decoder.embed_tokens(torch.tensor([[5, 6, 7, 8]]))
        positions = decoder.rotary_emb(hidden, torch.arange(4)[None])
        for block in decoder.layers:
            hidden = block(hidden, attention_mask=None, position_embeddings=positions)[0]
    assert sorted(rows) == list(range(wrapped.n_layers))
    expected = rows_of(plain, [5, 6, 7, 8])
    for row, found in rows.items():
        torch.testing.assert_close(found[0], expected[row])


def test_pack_takes_float16_where_nothing_is_lost() -> None:
    ordinary = torch.randn(4, 3, 64) * 30
    assert pack(ordinary).dtype == torch.float16
    torch.testing.assert_close(pack(ordinary).float(), ordinary, rtol=1e-3, atol=1e-3)

    overflowing = ordinary.clone()
    overflowing[1, 2, 3] = 70_000.0
    assert torch.equal(pack(overflowing), overflowing)

    tiny = ordinary * 1e-7
    assert torch.equal(pack(tiny), tiny)

    # A value lost among the subnormals is nothing beside the row's others.
    negligible = ordinary.clone()
    negligible[0, 0, 0] = 1e-6
    assert pack(negligible).dtype == torch.float16
    # One row of small values among rows of large ones is not negligible.
    mixed = ordinary.clone()
    mixed[2, 0] *= 1e-7
    assert pack(mixed).dtype == torch.float32
    with_zeros = ordinary.clone()
    with_zeros[0] = 0.0
    assert pack(with_zeros).dtype == torch.float16
