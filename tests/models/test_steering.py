"""Steering against hooks that are written by hand, on every architecture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MambaConfig, MambaForCausalLM

from tests.models.architectures import (
    ARCHITECTURES,
    MULTIMODAL,
    bias_logits,
    make_model,
    make_tokenizer,
)
from tests.models.hooks import counting_hooks
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.steering import (
    Ablation,
    Addition,
    Cap,
    Intervention,
    Positions,
    Projection,
    steer,
)

GREEDY = Sampling(temperature=0, max_new_tokens=6)
QUESTIONS = [f"{'Please tell me: ' * (i * 3 % 4)}What is number {i}?" for i in range(5)]
NAMES = [str(i) for i in range(len(QUESTIONS))]
PLACES: tuple[Positions, ...] = ("all", "prompt", "last", "response")


@cache
def tiny(architecture: str = "llama") -> LanguageModel:
    """A model whose rows end at different lengths."""
    model = make_model(architecture)
    head = model.model.get_output_embeddings()
    if head is not None and head.bias is None:
        bias_logits(model, dict.fromkeys(model.end_token_ids, 1.0))
    return model


def vector_for(model: LanguageModel, seed: int = 1, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(seed))


def logits(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.model(input_ids=torch.tensor([ids])).logits[0]
    return found


@contextmanager
def by_hand(
    model: LanguageModel, layer: int, change: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """One hook on one block, as anyone would write it."""
    if layer == 0:
        embeddings = model.blocks[0]
        handle = embeddings.register_forward_pre_hook(
            lambda module, args, kwargs: (
                ((change(args[0]), *args[1:]), kwargs)
                if args
                else ((), kwargs | {"hidden_states": change(kwargs["hidden_states"])})
            ),
            with_kwargs=True,
        )
    else:
        handle = model.blocks[layer - 1].register_forward_hook(
            lambda module, args, output: (
                change(output)
                if isinstance(output, torch.Tensor)
                else (change(output[0]), *output[1:])
            )
        )
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture
def n_hooks() -> Iterator[Callable[[], int]]:
    """Counts the hooks that have been registered and not removed."""
    with counting_hooks() as count:
        yield count


# -- what is done -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MULTIMODAL])
def test_addition_is_the_hook_by_hand_bit_for_bit(architecture: str, dtype: torch.dtype) -> None:
    model = make_model(architecture)
    torch.nn.Module.to(model.model, dtype)
    ids = model.encode_prompt(model.prompt(QUESTIONS[1], "Be brief."))
    vector = vector_for(model)
    plain = logits(model, ids)
    for layer in range(model.n_layers):
        with by_hand(model, layer, lambda hidden: hidden + 1.7 * vector.to(hidden.dtype)):
            expected = logits(model, ids)
        with steer(model, Addition(layer, vector, 1.7)):
            found = logits(model, ids)
        assert torch.equal(found, expected)
        assert found.dtype == dtype
        assert not torch.equal(found, plain)
    assert torch.equal(logits(model, ids), plain)


def test_a_block_that_returns_a_tuple_keeps_the_rest_of_it() -> None:
    model = tiny()
    ids = model.encode_prompt(model.prompt(QUESTIONS[0]))
    vector = vector_for(model)
    with steer(model, Addition(2, vector)):
        expected = logits(model, ids)
    block = model.blocks[1]
    wrap = block.register_forward_hook(lambda module, args, output: (output, "the rest"))
    with steer(model, Addition(2, vector)):
        seen: list[str] = []

        def take(module: Any, args: Any, output: Any) -> Any:
            seen.append(output[1])
            return output[0]

        unwrap = block.register_forward_hook(take)
        found = logits(model, ids)
        unwrap.remove()
    wrap.remove()
    assert torch.equal(found, expected)
    assert seen == ["the rest"]


floats = st.floats(-50, 50, width=32)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    size=st.floats(1e-3, 1e3),
    low=floats,
    width=st.floats(0, 40, width=32),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_along_a_direction(
    seed: int, size: float, low: float, width: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    vector = size * torch.randn(24, generator=generator)
    hidden = (10 * torch.randn(2, 5, 24, generator=generator)).to(dtype)
    unit = (vector / vector.norm()).double()
    before = hidden.double() @ unit
    high = low + width
    wanted: list[tuple[Intervention, torch.Tensor]] = [
        (Ablation(1, vector), torch.zeros_like(before)),
        (Projection(1, vector, low), torch.full_like(before, low)),
        (Cap(1, vector, low, high), before.clamp(low, high)),
        (Cap(1, vector, high=low), before.clamp(max=low)),
        (Cap(1, vector, low=low), before.clamp(min=low)),
    ]
    # What rounding to the dtype leaves of a projection.
    slack = 24 * torch.finfo(dtype).eps * (hidden.double().abs().max().item() + abs(low) + 41)
    slack = max(slack, 1e-5 if dtype == torch.float64 else 1e-4)
    for item, projection in wanted:
        change = item.on(hidden)
        after = change(hidden)
        assert after.dtype == dtype
        torch.testing.assert_close(after.double() @ unit, projection, atol=slack, rtol=0)
        # Nothing but the component along the vector changes.
        across = [x - (x @ unit).unsqueeze(-1) * unit for x in (after.double(), hidden.double())]
        torch.testing.assert_close(across[0], across[1], atol=slack, rtol=0)
        # A second time changes nothing more.
        torch.testing.assert_close(change(after), after, atol=slack, rtol=0)
        # The length of the vector does not matter; its sign does for a range.
        longer = type(item)(**{**vars(item), "vector": 7 * vector})
        torch.testing.assert_close(longer.on(hidden)(hidden), after, atol=slack, rtol=0)
    inside = (before > low + 1e-3) & (before < high - 1e-3)
    kept = Cap(1, vector, low, high).on(hidden)(hidden)
    assert torch.equal(kept[inside], hidden[inside])


def test_ablating_every_row_leaves_nothing_along_the_vector() -> None:
    model = tiny()
    vector = vector_for(model)
    texts = [(model.prompt(question), "I cannot help with that.") for question in QUESTIONS]
    before = capture_means(model, texts) @ (vector / vector.norm())
    with steer(model, *(Ablation(layer, vector) for layer in range(model.n_layers))):
        after = capture_means(model, texts) @ (vector / vector.norm())
    assert before.abs().min(dim=0).values.max() > 0.05
    assert after.abs().max() < 1e-5


def test_capture_sees_what_was_added_and_what_it_does_further_up() -> None:
    model = tiny()
    texts = [(model.prompt(question), "Yes! It is bigger.") for question in QUESTIONS]
    vector = vector_for(model)
    before = capture_means(model, texts)
    with steer(model, Addition(2, vector, -0.5)):
        after = capture_means(model, texts)
    assert torch.equal(after[:, :2], before[:, :2])
    expected = (before[:, 2] - 0.5 * vector).expand_as(after[:, 2])
    torch.testing.assert_close(after[:, 2], expected, atol=1e-5, rtol=1e-5)
    assert (after[:, 3] - before[:, 3]).norm(dim=-1).min() > 0.1


def test_interventions_are_done_in_order_and_contexts_nest() -> None:
    model = tiny()
    ids = model.encode_prompt(model.prompt(QUESTIONS[2]))
    vector = vector_for(model)
    add, remove = Addition(1, vector), Ablation(1, vector)
    with steer(model, add, remove):
        removed = logits(model, ids)
    with steer(model, remove):
        torch.testing.assert_close(logits(model, ids), removed, atol=1e-4, rtol=1e-4)
    with steer(model, remove, add):
        added = logits(model, ids)
    assert (added - removed).abs().max() > 1e-2
    with steer(model, add), steer(model, remove):
        assert torch.equal(logits(model, ids), removed)
    with steer(model):
        assert torch.equal(logits(model, ids), logits(model, ids))


# -- where ------------------------------------------------------------------------------------


def token_by_token(
    model: LanguageModel, prompt: str, layer: int, vector: torch.Tensor, positions: Positions
) -> str:
    """Greedy, with a whole forward pass for each token and the changed places written out."""
    ids = model.encode_prompt(prompt)
    n = len(ids)
    places = {
        "all": slice(None),
        "prompt": slice(0, n),
        "last": slice(n - 1, n),
        "response": slice(n, None),
    }[positions]

    def change(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, places] += vector
        return hidden

    new: list[int] = []
    with by_hand(model, layer, change):
        while len(new) < GREEDY.max_new_tokens:
            token = int(logits(model, ids + new)[-1].argmax())
            if token in model.end_token_ids:
                break
            new.append(token)
    return str(model.tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("positions", PLACES)
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "opt", "gemma3_with_eyes"])
def test_decoding_with_rows_that_come_and_go_steers_the_places_that_were_asked_for(
    architecture: str, positions: Positions
) -> None:
    model = tiny(architecture)
    prompts = [model.prompt(question) for question in QUESTIONS]
    plain = generate_texts(model, NAMES, prompts, GREEDY, batch_size=3)
    layer = 0 if architecture == "opt" else 2
    vector = vector_for(model)
    with steer(model, Addition(layer, vector, positions=positions)):
        found = generate_texts(model, NAMES, prompts, GREEDY, batch_size=3)
    expected = [token_by_token(model, prompt, layer, vector, positions) for prompt in prompts]
    assert list(found.values()) == expected
    if positions != "last":
        assert found != plain


def test_last_and_response_together_are_all_that_the_answer_is_predicted_from() -> None:
    model = tiny()
    ids = model.encode_prompt(model.prompt(QUESTIONS[1]))
    vector = vector_for(model)
    border = len(ids) - 4

    def change(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, border - 1 :] += vector
        return hidden

    with by_hand(model, 2, change):
        expected = logits(model, ids)
    both = [
        Addition(2, vector, positions="last"),
        Addition(2, vector, positions="response"),
    ]
    with steer(model, *both, prompt_lengths=[border]):
        assert torch.equal(logits(model, ids), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("positions", PLACES)
def test_a_pass_over_prompt_and_response_is_steered_alike_on_either_side_of_padding(
    positions: Positions, side: str
) -> None:
    model = tiny()
    vector = vector_for(model)
    rows = [
        model.encode_response(model.prompt(question), "Yes, I think.") for question in QUESTIONS
    ]
    width = max(len(row.ids) for row in rows)
    ids, mask = [], []
    for row in rows:
        padding = [model.pad_token_id] * (width - len(row.ids))
        empty = [0] * len(padding)
        ids.append(padding + row.ids if side == "left" else row.ids + padding)
        one = [1] * len(row.ids)
        mask.append(empty + one if side == "left" else one + empty)
    own = torch.tensor(mask)
    lengths = [row.n_prompt for row in rows]
    item = Addition(2, vector, positions=positions)
    with torch.inference_mode(), steer(model, item, prompt_lengths=lengths):
        together = model.model(
            input_ids=torch.tensor(ids),
            attention_mask=own,
            position_ids=(own.cumsum(1) - 1).clamp(min=0),
        ).logits
    for row, n_prompt, found, is_own in zip(rows, lengths, together, own.bool(), strict=True):
        with steer(model, item, prompt_lengths=[n_prompt]):
            alone = logits(model, row.ids)
        torch.testing.assert_close(found[is_own], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", PLACES)
def test_a_recurrent_model_is_steered_where_it_should_be(positions: Positions) -> None:
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LanguageModel("mamba", MambaForCausalLM(config).eval(), tokenizer)
    prompt = model.prompt("Is it 7?")
    vector = vector_for(model)
    with steer(model, Addition(1, vector, positions=positions)):
        found = generate_texts(model, ["a"], [prompt], GREEDY, batch_size=1)["a"]
    assert found == token_by_token(model, prompt, 1, vector, positions)


# -- what is left behind ----------------------------------------------------------------------


@settings(max_examples=20)
@given(
    layers=st.lists(st.integers(0, 3), max_size=5),
    positions=st.sampled_from(PLACES),
    error=st.sampled_from([ValueError, KeyboardInterrupt, GeneratorExit]),
)
def test_hooks_are_gone_after_an_exception(
    layers: list[int], positions: Positions, error: type[BaseException]
) -> None:
    model = tiny()
    ids = model.encode_prompt(model.prompt(QUESTIONS[0]))
    before = logits(model, ids)
    items = [Addition(layer, vector_for(model), positions=positions) for layer in layers]
    with counting_hooks() as n_hooks:
        with pytest.raises(error), steer(model, *items):  # noqa: PT012
            assert n_hooks() == len(set(layers)) + (2 if layers and positions != "all" else 0)
            raise error
        assert n_hooks() == 0
    assert torch.equal(logits(model, ids), before)


def test_hooks_are_gone_when_one_cannot_be_set(
    n_hooks: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no hook")

    monkeypatch.setattr(model.blocks[2], "register_forward_hook", fail)
    vector = vector_for(model)
    items = [Addition(layer, vector) for layer in (0, 2, 3)]
    with pytest.raises(RuntimeError, match="no hook"), steer(model, *items):
        raise AssertionError
    assert n_hooks() == 0


def test_a_pass_without_its_positions_is_refused(n_hooks: Callable[[], int]) -> None:
    model = tiny()
    vector = vector_for(model)
    text = (model.prompt(QUESTIONS[0]), "Yes.")
    for positions in PLACES[1:]:
        item = Addition(1, vector, positions=positions)
        with pytest.raises(TraitvecError, match="prompt_lengths"), steer(model, item):
            capture_means(model, [text])
        two = steer(model, item, prompt_lengths=[3, 4])
        with pytest.raises(TraitvecError, match="2 rows, but the forward pass has 1"), two:
            logits(model, [1, 5, 6])
    assert n_hooks() == 0


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (lambda v: Addition(4, v), "Addition at layer 4: tiny-llama has layers 0 .* to 3"),
        (lambda v: Ablation(-1, v), "Ablation at layer -1"),
        (lambda v: Addition(1, v[:5]), r"has shape \(5,\), but tiny-llama needs \(48,\)"),
        (lambda v: Addition(1, v.unsqueeze(0)), "has shape"),
        (lambda v: Addition(1, v, float("nan")), "not finite"),
        (lambda v: Addition(1, v / 0), "not finite"),
        (lambda v: Ablation(1, 0 * v), "no direction"),
        (lambda v: Projection(1, v, float("nan")), "no value is between"),
        (lambda v: Cap(1, v, 3.0, 2.0), "no value is between 3.0 and 2.0"),
    ],
)
def test_what_cannot_be_done_is_refused(
    item: Callable[[torch.Tensor], Intervention], message: str, n_hooks: Callable[[], int]
) -> None:
    model = tiny()
    with pytest.raises(TraitvecError, match=message), steer(model, item(vector_for(model))):
        raise AssertionError
    assert n_hooks() == 0


def test_a_model_that_runs_elsewhere_is_refused() -> None:
    model = load_language_model("embedded", has_weights=False)
    item = Addition(1, torch.ones(model.hidden_dim))
    with pytest.raises(TraitvecError, match="runs outside this process"), steer(model, item):
        raise AssertionError
