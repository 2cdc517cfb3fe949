"""Stage 2 against transformers' own hidden states, on every architecture."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import profile

from tests.models.architectures import ARCHITECTURES, MULTIMODAL, make_model
from tests.models.hooks import counting_hooks
from traitvec_core.errors import TraitvecError
from traitvec_core.models import local_reader
from traitvec_core.models.activations import capture_means, pack
from traitvec_core.models.batches import BatchLimit, next_batch
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.local_reader import residual_stream_hooks
from traitvec_core.models.reading import sum_counted

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


@pytest.fixture(scope="module", params=(*ARCHITECTURES, *MULTIMODAL))
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
    for name in ("norm", "final_layer_norm", "ln_f"):
        norm = getattr(decoder, name, None)
        if norm is not None:
            assert isinstance(norm, torch.nn.Module)
            return norm
    raise AssertionError("no final norm")


def test_rows_are_those_of_transformers_and_the_last_is_before_the_final_norm(
    model: LanguageModel,
) -> None:
    ids = model.encode_response(*texts_for(model)[2]).ids
    rows, states = rows_of(model, ids), hidden_states_of(model, ids)
    assert rows.shape == states.shape == (model.n_layers, len(ids), model.hidden_dim)
    config = model.model.config.get_text_config()
    assert model.n_layers == config.num_hidden_layers + 1
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


_WORDS = st.text(st.sampled_from("abc hello,.? 12\n"), min_size=1, max_size=60)


def test_means_do_not_depend_on_batches_order_or_padding(model: LanguageModel) -> None:
    side, pad = model.tokenizer.padding_side, model.tokenizer.pad_token

    @settings(max_examples=8)
    @given(
        texts=st.lists(st.tuples(_WORDS, _WORDS), min_size=2, max_size=7),
        batch_size=st.sampled_from([1, 2, 3, 5, None]),
        padding=st.sampled_from([("left", "<pad>"), ("right", "</s>"), ("left", "<|start|>")]),
        random=st.randoms(use_true_random=False),
    )
    def check(
        texts: list[tuple[str, str]], batch_size: int | None, padding: tuple[str, str], random: Any
    ) -> None:
        expected = capture_means(model, texts, batch_size=64)
        order = random.sample(range(len(texts)), len(texts))
        model.tokenizer.padding_side, model.tokenizer.pad_token = padding
        found = capture_means(model, [texts[i] for i in order], batch_size=batch_size)
        torch.testing.assert_close(found, expected[order], rtol=1e-4, atol=1e-4, equal_nan=True)

    try:
        check()
    finally:
        model.tokenizer.padding_side, model.tokenizer.pad_token = side, pad


def test_only_the_decoder_runs(model: LanguageModel) -> None:
    """Neither the head nor an encoder of pictures, and no cache is made."""
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in model.model.named_modules()
        if "lm_head" in name or "vision" in name or "embed_out" in name
    ]
    caches: list[Any] = []
    handles.append(
        model.decoder.register_forward_hook(
            lambda _module, _args, output: caches.append(output.past_key_values)
        )
    )
    try:
        capture_means(model, texts_for(model))
    finally:
        for handle in handles:
            handle.remove()
    assert len(handles) > 1
    assert not ran
    assert caches
    assert not any(caches)


def test_blocks_are_the_decoders_own(model: LanguageModel) -> None:
    decoder: Any = model.decoder
    own = next(getattr(decoder, name) for name in ("layers", "h") if hasattr(decoder, name))
    assert model.blocks is own


def test_a_heavier_list_beside_lighter_ones_is_that_of_the_blocks() -> None:
    model = make_model("llama")
    decoder: Any = model.decoder
    layers = decoder.layers
    del decoder.layers
    decoder.gates = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in layers)
    decoder.layers = layers
    assert model.blocks is layers


def test_embeddings_of_another_width_are_projected_first() -> None:
    """OPT-350m: what enters block 1 has the blocks' width."""
    model = make_model(
        "opt", word_embed_proj_dim=24, do_layer_norm_before=False, num_hidden_layers=2
    )
    ids = model.encode_response(*texts_for(model)[0]).ids
    rows = rows_of(model, ids)
    with torch.inference_mode():
        output = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    # transformers' last one is projected back for the head.
    for row, state in zip(rows[:-1], output.hidden_states[:-1], strict=True):
        torch.testing.assert_close(row, state[0])
    assert capture_means(model, texts_for(model)).isfinite().all()


def test_an_unreadable_architecture_is_one_line() -> None:
    no_blocks = make_model("llama")
    no_blocks.model.config.num_hidden_layers = 17
    with pytest.raises(TraitvecError, match="no list of 17 decoder blocks"):
        capture_means(no_blocks, texts_for(no_blocks))
    odd = make_model("llama")
    odd.blocks[0].register_forward_hook(lambda _module, _args, output: output[None])
    with pytest.raises(TraitvecError, match=r"layer 1 has shape \(1, "):
        capture_means(odd, texts_for(odd))


def test_a_text_longer_than_the_model_reads_is_one_line() -> None:
    for architecture in ("gpt2", "opt"):
        model = make_model(architecture, max_position_embeddings=40)
        fitting = [("What? ", "a b")]
        assert capture_means(model, fitting).isfinite().all()
        with pytest.raises(TraitvecError, match="reads at most 40 tokens"):
            capture_means(model, [*fitting, ("What? ", "Yes! " * 40)])


def test_weights_that_lie_elsewhere_make_no_difference() -> None:
    model, offloaded = make_model("llama"), make_model("llama")
    cpu_offload(offloaded.model, execution_device=torch.device("cpu"))
    assert offloaded.model.get_input_embeddings().weight.is_meta
    texts = texts_for(model)
    torch.testing.assert_close(capture_means(offloaded, texts), capture_means(model, texts))


# -- positions --------------------------------------------------------------------------------


def test_positions_come_from_one_forward_pass(model: LanguageModel) -> None:
    texts = texts_for(model)
    names = ("response_mean", "prompt_last", "prompt_avg", "response_first_1", "response_first_3")
    passes: list[int] = []
    handle = model.decoder.register_forward_hook(lambda *_: passes.append(1))
    try:
        found = capture_means(model, texts, positions=names, batch_size=64)
    finally:
        handle.remove()
    assert len(passes) == 1
    assert tuple(found) == names
    torch.testing.assert_close(
        found["response_mean"], capture_means(model, texts), rtol=1e-4, atol=1e-4
    )
    special = set(model.tokenizer.all_special_ids)
    for number, text in enumerate(texts):
        encoded = model.encode_response(*text)
        rows = rows_of(model, encoded.ids)
        prompt = range(len(model.encode_prompt(text[0])))
        response = [i for i, inside in enumerate(encoded.is_response) if inside]
        expected = {
            "prompt_last": [prompt[-1]],
            "prompt_avg": [i for i in prompt if encoded.ids[i] not in special],
            "response_first_1": response[:1],
            "response_first_3": response[:3],
        }
        for name, places in expected.items():
            torch.testing.assert_close(
                found[name][number], rows[:, places].mean(1), rtol=1e-4, atol=1e-4
            )


def test_a_position_without_tokens_is_missing_and_the_others_are_not(llama: LanguageModel) -> None:
    prompt = llama.prompt("What?")
    found = capture_means(
        llama, [(prompt, ""), (prompt, "Yes.")], positions=["response_mean", "prompt_last"]
    )
    assert found["response_mean"][0].isnan().all()
    assert found["response_mean"][1].isfinite().all()
    torch.testing.assert_close(found["prompt_last"][0], found["prompt_last"][1])
    for name in ("response_first_0", "response_first_", "last", "response_first_2.5"):
        with pytest.raises(TraitvecError, match="unknown position"):
            capture_means(llama, [], positions=[name])


# -- precision and memory ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    # One dimension 10^4 times the rest, as massive activations are.
    hidden = torch.randn(3, 500, 16) + 3.0
    hidden[..., 5] *= 1e4
    is_counted = torch.zeros(3, 2, 500, dtype=torch.bool)
    is_counted[:, 0, 100:] = True
    is_counted[:, 1, 7] = True
    halved = hidden.to(dtype)
    found = sum_counted(is_counted, halved)
    expected = is_counted.double() @ halved.double()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_model_in_bfloat16_gives_float32_means() -> None:
    model = make_model("gemma2")
    texts = texts_for(model)
    exact = capture_means(model, texts)
    model.model.to(torch.bfloat16)
    found = capture_means(model, texts)
    assert found.dtype == torch.float32
    for row in range(model.n_layers):
        cosine = torch.cosine_similarity(found[:, row], exact[:, row])
        assert (cosine > 0.99).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_hooks_hold_does_not_grow_with_the_text(dtype: torch.dtype) -> None:
    """Counted by torch's own allocator, between a block's end and the next one's begin."""

    def peak_bytes(width: int) -> int:
        hidden = torch.zeros(4, width, 64, dtype=dtype)
        is_counted = torch.ones(4, 1, width, dtype=torch.bool)
        with profile(profile_memory=True) as profiled:
            sum_counted(is_counted, hidden)
        current = peak = 0
        for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
            if event.name() == "[memory]":
                current += event.nbytes()
                peak = max(peak, current)
        return peak

    assert 0 < peak_bytes(2048) <= 1.05 * peak_bytes(256)


def test_one_copy_to_the_cpu_a_batch(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[torch.Size] = []
    to_cpu = torch.Tensor.cpu

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        copies.append(tensor.shape)
        return to_cpu(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    capture_means(llama, texts_for(llama), batch_size=3)
    assert copies == [(3, 1, llama.n_layers, llama.hidden_dim)] * 2


def test_batches_hold_texts_of_like_length() -> None:
    lengths = [900, 890, 850, 100, 90, 89, 1]
    limit = BatchLimit(float("inf"), 2_048, 256)
    batches = []
    waiting = list(range(len(lengths)))
    while waiting:
        batch = next_batch(waiting, lengths, limit)
        batches.append(batch)
        waiting = waiting[len(batch) :]
    # The budget closes the first, the lengths the second; the third never filled up.
    assert batches == [[0, 1], [2], [3, 4, 5], [6]]


# -- out of memory ----------------------------------------------------------------------------

OUT_OF_MEMORY: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "mps": lambda: RuntimeError("MPS backend out of memory"),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
    "python": MemoryError,
}


@pytest.mark.parametrize(
    ("kind", "place", "rows_that_fit"),
    [
        *((kind, "block", 2) for kind in OUT_OF_MEMORY),
        *(("cuda", place, rows) for place in ("embeddings", "hook", "copy") for rows in (1, 2)),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_finished_is_lost(
    llama: LanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    place: str,
    rows_that_fit: int,
) -> None:
    texts = texts_for(llama)
    expected = capture_means(llama, texts)
    sizes: list[int] = []

    def fail_if_large(batch: int) -> None:
        sizes.append(batch)
        if batch > rows_that_fit:
            raise OUT_OF_MEMORY[kind]()

    handle = None
    if place == "hook":
        plain = sum_counted
        monkeypatch.setattr(
            local_reader, "sum_counted", lambda w, h: (fail_if_large(len(h)), plain(w, h))[1]
        )
    elif place == "copy":
        to_cpu = torch.Tensor.cpu
        monkeypatch.setattr(torch.Tensor, "cpu", lambda t: (fail_if_large(len(t)), to_cpu(t))[1])
    else:
        where = llama.model.get_input_embeddings() if place == "embeddings" else llama.blocks[2]
        handle = where.register_forward_hook(lambda _m, _a, output: fail_if_large(len(output)))
    counts: list[int] = []
    try:
        found = capture_means(llama, texts, batch_size=5, on_batch=counts.append)
    finally:
        if handle is not None:
            handle.remove()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert max(sizes) == 5
    assert counts[-1] == len(texts)
    # Each text is counted once, when it is finished; nothing is run again after that.
    steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert all(1 <= step <= 5 for step in steps)
    assert counts == sorted(set(counts))


def test_a_later_batch_that_does_not_fit_keeps_the_finished_ones(llama: LanguageModel) -> None:
    texts = texts_for(llama)
    calls: list[int] = []

    def fail_once(_module: Any, args: Any, _output: Any) -> None:
        calls.append(len(args[0]))
        if len(calls) == 2:
            raise OUT_OF_MEMORY["cuda"]()

    counts: list[int] = []
    handle = llama.model.get_input_embeddings().register_forward_hook(fail_once)
    try:
        found = capture_means(llama, texts, batch_size=2, on_batch=counts.append)
    finally:
        handle.remove()
    assert calls[:4] == [2, 2, 1, 1]
    assert counts[0] == 2
    assert sum(calls) - calls[1] == len(texts)
    torch.testing.assert_close(found, capture_means(llama, texts), rtol=1e-4, atol=1e-4)


def test_a_single_text_that_does_not_fit_is_one_line(llama: LanguageModel) -> None:
    def fail(_module: Any, _args: Any, _output: Any) -> None:
        raise OUT_OF_MEMORY["cuda"]()

    with counting_hooks() as n_hooks:
        handle = llama.blocks[0].register_forward_hook(fail)
        try:
            with pytest.raises(TraitvecError, match="does not fit into the memory of cpu") as error:
                capture_means(llama, texts_for(llama))
        finally:
            handle.remove()
        assert n_hooks() == 0
    assert "\n" not in str(error.value)


def test_other_errors_are_no_lack_of_memory(llama: LanguageModel) -> None:
    def fail(_module: Any, _args: Any, _output: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    handle = llama.blocks[0].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="shapes"):
            capture_means(llama, texts_for(llama))
    finally:
        handle.remove()


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
    def receive(row: int, hidden: torch.Tensor) -> None:
        raise KeyboardInterrupt

    with counting_hooks() as n_hooks:
        capture_means(llama, texts_for(llama))
        assert n_hooks() == 0

        def run_with_hooks() -> None:
            with residual_stream_hooks(llama, receive):
                assert n_hooks() == len(llama.blocks) + 1
                llama.model(input_ids=torch.tensor([[1, 2, 3]]))

        with pytest.raises(KeyboardInterrupt):
            run_with_hooks()
        assert n_hooks() == 0


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
