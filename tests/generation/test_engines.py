"""Engines: one protocol, equal results, nothing lost when memory or a server fails."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MambaConfig, MambaForCausalLM

from benchmarks.generation import on_embedded_model
from tests.generation.completions import CompletionsServer, Manners, serving
from tests.models.architectures import ARCHITECTURES, bias_logits, make_model, make_tokenizer
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings, Sampling
from traitvec_core.generation import (
    EngineOptions,
    close_thinking,
    generate_responses,
    generate_texts,
    key_values,
    load_engine,
    plan_responses,
    split_thinking,
)
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.engine import ENGINES
from traitvec_core.generation.engine_process import check_engine
from traitvec_core.generation.request import Generated
from traitvec_core.generation.transformers_engine import TransformersEngine
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.trait import InstructionPair, TraitDefinition
from traitvec_core.validation.response_counts import count_responses, is_looping

GREEDY = Sampling(temperature=0, max_new_tokens=9)
DRAWN = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=14, seed=5)
QUESTIONS = [f"{'Please tell me: ' * (i * 7 % 5)}What is number {i}?" for i in range(11)]
NAMES = [str(i) for i in range(len(QUESTIONS))]


def ragged(architecture: str = "llama", **config: Any) -> LanguageModel:
    """A model whose rows end at very different lengths."""
    model = make_model(architecture, **config)
    if model.model.get_output_embeddings().bias is None:
        bias_logits(model, dict.fromkeys(model.end_token_ids, 2.5))
    return model


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return ragged()


@pytest.fixture(scope="module")
def saved(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model as a folder; the bias of its head is not part of it, so it is served as `model`."""
    folder = tmp_path_factory.mktemp("model")
    model.model.config.save_pretrained(folder)
    model.model.generation_config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


def prompts_of(model: LanguageModel) -> list[str]:
    return [model.prompt(question, "Be brief.") for question in QUESTIONS]


def one_by_one(model: LanguageModel, prompt: str, room: int) -> str:
    """What transformers' own `generate` answers, greedily and alone."""
    ids = torch.tensor([model.encode_prompt(prompt)])
    output = model.model.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=room
    )
    return str(model.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))


# -- decoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_come_and_go_are_those_of_generate(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Room runs out every few steps, and sliding windows are 8 tokens wide.
    monkeypatch.setattr(key_values, "_ROOM", 3)
    model = ragged(architecture)
    prompts = prompts_of(model)
    sampling = Sampling(temperature=0, max_new_tokens=24)
    engine = TransformersEngine(model, batch_size=3)
    assert not engine._is_plain
    texts = generate_texts(engine, NAMES, prompts, sampling)
    assert not engine._is_plain
    assert texts == {
        name: one_by_one(model, prompt, 24) for name, prompt in zip(NAMES, prompts, strict=True)
    }


SMALL: dict[str, LanguageModel] = {}


@settings(max_examples=20)
@given(
    architecture=st.sampled_from(["llama", "gemma2", "gpt_neox", "opt"]),
    order=st.permutations(range(len(QUESTIONS))),
    n=st.integers(1, len(QUESTIONS)),
    batch_size=st.none() | st.integers(1, 13),
    side=st.sampled_from(["left", "right"]),
    plain=st.booleans(),
)
def test_greedy_responses_depend_on_their_prompt_alone(
    architecture: str, order: list[int], n: int, batch_size: int | None, side: str, plain: bool
) -> None:
    model = SMALL.setdefault(architecture, ragged(architecture))
    prompts = prompts_of(model)
    expected = SMALL_TEXTS.setdefault(
        architecture, {name: one_by_one(model, prompts[int(name)], 9) for name in NAMES}
    )
    model.tokenizer.padding_side = side
    chosen = order[:n]
    engine = TransformersEngine(model, batch_size=batch_size)
    engine._is_plain = plain
    texts = generate_texts(engine, [NAMES[i] for i in chosen], [prompts[i] for i in chosen], GREEDY)
    assert texts == {NAMES[i]: expected[NAMES[i]] for i in chosen}


SMALL_TEXTS: dict[str, dict[str, str]] = {}


def test_equal_prompts_are_read_once_and_answered_apart(model: LanguageModel) -> None:
    prompt = prompts_of(model)[3]
    shapes: list[tuple[int, ...]] = []

    def note(_module: Any, args: Any, kwargs: Any) -> None:
        shapes.append(tuple(kwargs["input_ids"].shape))

    handle = model.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        texts = generate_texts(model, NAMES, [prompt] * len(NAMES), DRAWN)
    finally:
        handle.remove()
    assert shapes[0] == (1, len(model.encode_prompt(prompt)))
    assert len(set(texts.values())) > len(NAMES) / 2
    for name in NAMES[:4]:
        assert generate_texts(model, [name], [prompt], DRAWN) == {name: texts[name]}


def test_ended_rows_are_not_computed_any_more(model: LanguageModel) -> None:
    computed = 0

    def count(_module: Any, args: Any, kwargs: Any) -> None:
        nonlocal computed
        if kwargs["input_ids"].shape[1] == 1:
            computed += kwargs["input_ids"].shape[0]

    done: list[Generated] = []
    handle = model.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        generate_texts(
            model, NAMES, prompts_of(model), DRAWN, batch_size=4, on_finished=done.extend
        )
    finally:
        handle.remove()
    lengths = [text.response_tokens for text in done]
    assert len(set(lengths)) > 3
    # The first token comes from the prompt; an end token is computed but does not count.
    assert computed == sum(n - (text.finish_reason == "length") for n, text in zip(lengths, done))


def test_a_row_that_overflows_harms_no_other(model: LanguageModel) -> None:
    prompts = prompts_of(model)
    alone = generate_texts(model, NAMES, prompts, GREEDY, batch_size=3)
    poisoned = model.encode_prompt(prompts[8])

    def poison(_module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        # Everything that the model makes of one prompt is not a number.
        for row, ids in enumerate(args[0].tolist()):
            if ids[-len(poisoned) :] == poisoned:
                output = output.clone()
                output[row, -len(poisoned) :] = torch.nan
        return output

    handle = model.model.get_input_embeddings().register_forward_hook(poison)
    try:
        texts = generate_texts(model, NAMES, prompts, GREEDY, batch_size=3)
    finally:
        handle.remove()
    assert texts["8"] != alone["8"]
    assert texts | {"8": ""} == alone | {"8": ""}


def test_a_recurrent_model_falls_back_to_whole_batches() -> None:
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LanguageModel("mamba", MambaForCausalLM(config).eval(), tokenizer)
    prompts = [model.prompt("Is it 7?"), model.prompt("Is it 8?")]
    assert len({len(model.encode_prompt(prompt)) for prompt in prompts}) == 1
    engine = TransformersEngine(model, batch_size=2)
    assert engine._is_plain
    texts = generate_texts(engine, ["a", "b"], prompts, GREEDY)
    assert list(texts.values()) == [one_by_one(model, prompt, 9) for prompt in prompts]
    # Rows at once are found without any heads too.
    assert generate_texts(model, ["a", "b"], prompts, GREEDY) == texts


# -- killed runs ------------------------------------------------------------------------------


@settings(max_examples=5)
@given(finished=st.sets(st.sampled_from(NAMES)), batch_size=st.integers(1, 4))
def test_a_resumed_run_repeats_the_last_bit(finished: set[str], batch_size: int) -> None:
    """In bfloat16, where another batch would give other responses."""
    model = HALF.setdefault("half", _half())
    prompts = prompts_of(model)
    whole: dict[str, Generated] = {}
    rest: dict[str, Generated] = {}
    for seen, skip in ((whole, set[str]()), (rest, finished)):

        def keep(texts: list[Generated], seen: dict[str, Generated] = seen) -> None:
            for text in texts:
                assert text.name not in seen
                seen[text.name] = text

        generate_texts(
            model, NAMES, prompts, DRAWN, batch_size=batch_size, skip=skip, on_finished=keep
        )
    assert set(rest) == set(NAMES) - finished
    assert rest == {name: whole[name] for name in rest}


HALF: dict[str, LanguageModel] = {}


def _half() -> LanguageModel:
    model = ragged()
    model.model.to(torch.bfloat16)
    return model


# -- memory -----------------------------------------------------------------------------------


def _torch_error() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def _plain_error() -> Exception:
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: out of memory")


@pytest.fixture(scope="module")
def undisturbed(model: LanguageModel) -> dict[str, str]:
    """The responses when memory suffices."""
    return generate_texts(model, NAMES, prompts_of(model), DRAWN, batch_size=6)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("at", "error"),
    [
        (0, _torch_error),
        (1, _plain_error),
        (2, _torch_error),
        (11, _torch_error),
        (17, _plain_error),
    ],
)
def test_no_finished_row_is_lost_when_memory_runs_out(
    model: LanguageModel,
    undisturbed: dict[str, str],
    at: int,
    plain: bool,
    error: Callable[[], Exception],
) -> None:
    prompts = prompts_of(model)
    passes = 0
    widths: list[int] = []

    def fail(_module: Any, args: Any) -> None:
        nonlocal passes
        passes += 1
        widths.append(args[0].shape[0])
        if passes == at + 1:
            raise error()

    engine = TransformersEngine(model, batch_size=6)
    engine._is_plain = plain
    done: list[Generated] = []
    handle = model.blocks[1].register_forward_pre_hook(fail)
    try:
        texts = generate_texts(engine, NAMES, prompts, DRAWN, on_finished=done.extend)
    finally:
        handle.remove()
    assert texts == undisturbed
    assert Counter(text.name for text in done) == Counter(NAMES)
    assert passes > at + 1
    assert max(widths[at + 1 :]) <= 3


def test_memory_for_two_rows_is_found_by_halving(model: LanguageModel) -> None:
    def fail(_module: Any, args: Any) -> None:
        if args[0].shape[0] > 2:
            raise _torch_error()

    done: list[Generated] = []
    handle = model.blocks[0].register_forward_pre_hook(fail)
    try:
        texts = generate_texts(model, NAMES, prompts_of(model), GREEDY, on_finished=done.extend)
    finally:
        handle.remove()
    assert texts == generate_texts(model, NAMES, prompts_of(model), GREEDY)
    assert Counter(text.name for text in done) == Counter(NAMES)


@pytest.mark.slow
def test_memory_that_does_not_suffice_for_one_row_is_told(model: LanguageModel) -> None:
    def fail(_module: Any, args: Any) -> None:
        raise _torch_error()

    handle = model.blocks[0].register_forward_pre_hook(fail)
    try:
        with pytest.raises(TraitvecError, match=r"single row.*max_new_tokens"):
            generate_texts(model, NAMES, prompts_of(model), GREEDY)
    finally:
        handle.remove()


def test_other_errors_are_not_taken_for_memory(model: LanguageModel) -> None:
    def fail(_module: Any, args: Any) -> None:
        raise RuntimeError("shapes do not fit")

    handle = model.blocks[0].register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="shapes"):
            generate_texts(model, NAMES, prompts_of(model), GREEDY)
    finally:
        handle.remove()


# -- the table --------------------------------------------------------------------------------


def options(model: LanguageModel, name: str = "", **rest: Any) -> EngineOptions:
    return EngineOptions(model=name or model.name, load_model=lambda: model, **rest)


def test_engines_are_found_by_name(model: LanguageModel) -> None:
    assert set(ENGINES) == {"transformers", "vllm", "server"}
    engine = load_engine("transformers", options(model))
    assert engine.name == "transformers"
    assert engine.language_model is model
    engine.close()
    with pytest.raises(TraitvecError, match="one of transformers, vllm, server"):
        load_engine("exl2", options(model))  # type: ignore[arg-type]
    with pytest.raises(TraitvecError, match="engine_url"):
        load_engine("server", options(model))


def test_without_vllm_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ExperimentSettings(model="embedded", engine="vllm")
    monkeypatch.delenv("TRAITVEC_VLLM_PYTHON", raising=False)
    with pytest.raises(TraitvecError) as error:
        check_engine(settings)
    assert "traitvec[vllm]" in str(error.value)
    assert "TRAITVEC_VLLM_PYTHON" in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("TRAITVEC_VLLM_PYTHON", "/nowhere/bin/python")
    with pytest.raises(TraitvecError, match="/nowhere/bin/python is no program"):
        check_engine(settings)


def test_more_gpus_than_the_run_has_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(TraitvecError, match=r'needs 2 GPUs, but this run has 1.*"0,1"$'):
        load_engine("vllm", EngineOptions("embedded", ragged, tensor_parallel=2))


# -- a server ---------------------------------------------------------------------------------


@pytest.mark.parametrize("manners", ["vllm", "vllm_0.6", "llama.cpp", "openai", "no_bos"])
@pytest.mark.parametrize("template", ["system", "none"])
def test_a_server_gives_what_transformers_gives(
    manners: Manners, template: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATION_API_KEY", "sk-of-this-test")
    model = ragged(template=template)
    model.model.config.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    prompts = prompts_of(model)
    if template == "none" and manners == "no_bos":
        pytest.skip("no server of its kind adds what a model without template needs")
    done: list[Generated] = []
    with serving(CompletionsServer(model, manners)) as server:
        engine = load_engine("server", options(model, str(tmp_path), url=server.url))
        texts = generate_texts(engine, NAMES, prompts, GREEDY, on_finished=done.extend)
    assert texts == generate_texts(model, NAMES, prompts, GREEDY)
    assert Counter(text.name for text in done) == Counter(NAMES)
    assert server.keys == {"Bearer sk-of-this-test"}
    # What it read in the end are the tokens that are meant, BOS once.
    assert sorted(server.read[-len(NAMES) :]) == sorted(map(model.encode_prompt, prompts))
    for ids in server.read[-len(NAMES) :]:
        assert ids.count(model.tokenizer.bos_token_id) == 1
    last = server.requests[-1]
    assert {request["seed"] for request in server.requests[-len(NAMES) :]} == {
        seed_of(name, 0) for name in NAMES
    }
    if manners in {"vllm", "vllm_0.6"}:
        # Nothing is left to the server's, or the checkpoint's, defaults.
        assert (last["top_k"], last["min_p"], last["repetition_penalty"]) == (-1, 0, 1)
        assert last["stop_token_ids"] == model.end_token_ids


def test_a_server_with_another_template_is_refused(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model, "template")) as server:
        engine = load_engine("server", options(model, saved, url=server.url))
        with pytest.raises(TraitvecError, match="adds its own template") as error:
            generate_texts(engine, NAMES, prompts_of(model), GREEDY)
    assert "\n" not in str(error.value)


def test_a_server_that_counts_nothing_is_refused(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model, counts=False)) as server:
        engine = load_engine("server", options(model, saved, url=server.url))
        with pytest.raises(TraitvecError, match="second BOS"):
            generate_texts(engine, NAMES, prompts_of(model), GREEDY)


def test_a_server_in_trouble_is_asked_again(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model, failures=[429, 500, 429])) as server:
        engine = load_engine("server", options(model, saved, url=server.url, batch_size=3))
        texts = generate_texts(engine, NAMES, prompts_of(model), GREEDY)
    assert texts == generate_texts(model, NAMES, prompts_of(model), GREEDY)
    assert server.most_at_once <= 3


def test_a_server_that_fails_for_good_keeps_what_is_finished(
    model: LanguageModel, saved: str
) -> None:
    prompts = prompts_of(model)
    with serving(CompletionsServer(model)) as server:
        engine = load_engine("server", options(model, saved, url=server.url, batch_size=1))
        done: list[Generated] = []

        def break_after_three(texts: list[Generated]) -> None:
            done.extend(texts)
            if len(done) == 3:
                server.failures[:] = [401] * 5

        with pytest.raises(TraitvecError, match="GENERATION_API_KEY"):
            generate_texts(engine, NAMES, prompts, DRAWN, on_finished=break_after_three)
        server.failures.clear()
        assert [text.name for text in done] == NAMES[:3]
        rest = generate_texts(engine, NAMES, prompts, DRAWN, skip={t.name for t in done})
        whole = generate_texts(engine, NAMES, prompts, DRAWN)
    assert {t.name: t.response for t in done} | rest == whole


def test_a_wrong_model_name_is_reported_with_the_settings_to_check(
    model: LanguageModel, saved: str
) -> None:
    with serving(CompletionsServer(model, failures=[404] * 5)) as server:
        engine = load_engine("server", options(model, saved, url=server.url))
        with pytest.raises(TraitvecError, match="check engine_model and engine_url") as error:
            generate_texts(engine, NAMES, prompts_of(model), GREEDY)
    assert "judge" not in str(error.value)


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:secret@127.0.0.1/v1"])
def test_an_address_that_cannot_be_used_is_told(model: LanguageModel, saved: str, url: str) -> None:
    with pytest.raises(TraitvecError, match="engine_url") as error:
        load_engine("server", options(model, saved, url=url))
    assert "secret" not in str(error.value)


def test_a_model_without_weights_prompts_like_one_with(model: LanguageModel, saved: str) -> None:
    light = load_language_model(saved, has_weights=False)
    assert all(parameter.is_meta for parameter in light.model.parameters())
    assert prompts_of(light) == prompts_of(model)
    assert [light.encode_prompt(p) for p in prompts_of(light)] == [
        model.encode_prompt(p) for p in prompts_of(model)
    ]
    assert light.end_token_ids == model.end_token_ids
    assert light.context_tokens == model.context_tokens
    with pytest.raises(TraitvecError, match="nowhere"):
        load_language_model("/nowhere/at/all", has_weights=False)


# -- BOS --------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["system", "raises", "drops", "none"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_row_begins_with_two_bos(architecture: str, template: Any) -> None:
    model = make_model(architecture, template)
    bos = model.tokenizer.bos_token_id
    seen: list[torch.Tensor] = []

    def note(_module: Any, args: Any, kwargs: Any) -> None:
        seen.append(kwargs["input_ids"])

    handle = model.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        one = Sampling(temperature=0, max_new_tokens=1)
        generate_texts(model, NAMES[:3], prompts_of(model)[:3], one)
    finally:
        handle.remove()
    assert ((seen[0] == bos).sum(1) == 1).all()


# -- what responses hold ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prompt", "thinking", "response"),
    [
        ("Yes.", "", "", "Yes."),
        ("  Yes. </think> ", "", "", "  Yes. </think> "),
        ("<think>\nHm.\n</think>\n\nYes.", "", "Hm.", "Yes."),
        ("\n<think>Hm.</think>Yes.", "", "Hm.", "Yes."),
        ("<think>\nHm, and so", "", "Hm, and so", ""),
        ("Hm.\n</think>\n\nYes.", "<|assistant|><think>\n", "Hm.", "Yes."),
        ("Hm, and so", "<|assistant|><think>\n", "Hm, and so", ""),
        ("Yes.", "<|assistant|><think>\n\n</think>\n\n", "", "Yes."),
        ("[THINK]Hm.[/THINK]Yes.", "", "Hm.", "Yes."),
        ("I <think> so.", "", "", "I <think> so."),
    ],
)
def test_thinking_is_split_from_the_response(
    text: str, prompt: str, thinking: str, response: str
) -> None:
    assert split_thinking(text, prompt) == (thinking, response)


def test_an_opened_thought_is_closed_before_a_response() -> None:
    assert close_thinking("<|assistant|>") == "<|assistant|>"
    closed = close_thinking("<|assistant|><think>\n")
    assert closed == "<|assistant|><think>\n\n</think>\n\n"
    assert close_thinking(closed) == closed


def test_thinking_has_a_column_of_its_own() -> None:
    model = make_model("llama")
    model.tokenizer.add_special_tokens(
        {"additional_special_tokens": ["[THINK]", "[/THINK]"]},
        replace_extra_special_tokens=False,
    )
    model.model.resize_token_embeddings(len(model.tokenizer))
    opening, closing = model.tokenizer.convert_tokens_to_ids(["[THINK]", "[/THINK]"])
    definition = TraitDefinition(
        instruction=[InstructionPair(pos="Be kind.", neg="Be rude.")],
        questions=["What?", "Who is it?"],
        eval_prompt="{question} {answer}",
    )
    planned = plan_responses("t", definition, 2)
    head = model.model.get_output_embeddings()
    plain = generate_responses(model, planned, DRAWN)
    assert "thinking" not in plain

    def think(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        # The first token opens the thought, the fourth closes it.
        nonlocal step
        forced = {0: opening, 3: closing}.get(step)
        step += 1
        if forced is not None:
            output = torch.full_like(output, -100.0)
            output[..., forced] = 100.0
        return output

    step = 0
    handle = head.register_forward_hook(think)
    try:
        table = generate_responses(model, planned, DRAWN)
    finally:
        handle.remove()
    assert list(table.columns)[-1] == "thinking"
    assert (table["thinking"] != "").any()
    for text in [*table["thinking"], *table["response"]]:
        assert "THINK" not in text
    assert count_responses(table)["thinking"] == (table["thinking"] != "").sum()


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("A plain answer of one sentence, which is long enough to be looked at closely.", False),
        ("I would say so. " * 12, True),
        ("It begins well. " + "And then, and then. " * 9 + "And th", True),
        ("no " * 40, True),
        ("Ha ha ha ha ha!", False),
        ("One\n\n----------\n\nTwo", False),
        ("\n".join(f"{i}. The thing of number {i} is different from others." for i in range(9)),
         False),
        ("The same thought, told twice. The same thought, told twice.", False),
        ("loop " * 30 + "and out of it at last, with a different ending to the answer.", False),
    ],
)  # fmt: skip
def test_a_repeated_tail_is_seen(text: str, loops: bool) -> None:
    assert is_looping(text) == loops


def test_responses_are_counted() -> None:
    table = pd.DataFrame(
        {
            "response": ["Yes.", "Yes. ", "", " \n", "so it goes on, " * 10, "Yes.", None],
            "pole": ["pos", "pos", "pos", "neg", "neg", "neg", "neg"],
            "finish_reason": ["stop", "stop", "stop", "stop", "length", "stop", "stop"],
        }
    )
    assert count_responses(table) == {
        "truncated": 1, "empty": 3, "looping": 1, "identical": 1, "thinking": 0,
    }  # fmt: skip
    assert count_responses(table.iloc[:0])["empty"] == 0


def test_the_benchmark_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.generation.REPEATS", 1)
    monkeypatch.setattr("benchmarks.generation.ROWS", 12)
    quotient, speed = on_embedded_model()
    assert quotient["at_least"] is True
    assert quotient["value"] > 0
    assert speed["value"] > 0
