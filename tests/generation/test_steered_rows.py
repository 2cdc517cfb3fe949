"""Generation where each row has its own interventions: as if each were generated alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from tests.models.architectures import (
    ARCHITECTURES,
    MULTIMODAL,
    bias_logits,
    make_model,
    make_tokenizer,
)
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.generation.engine import EngineOptions, load_engine
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

GREEDY = Sampling(temperature=0, max_new_tokens=8)
DRAWN = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=12, seed=5)
QUESTIONS = [f"{'Please tell me: ' * (i * 3 % 4)}What is number {i}?" for i in range(4)]


@cache
def tiny(architecture: str = "llama") -> LanguageModel:
    """A model whose rows end at different lengths, so that rows leave and join a batch."""
    model = make_model(architecture)
    head = model.model.get_output_embeddings()
    if head is not None and head.bias is None:
        bias_logits(model, dict.fromkeys(model.end_token_ids, 1.0))
    return model


def mamba() -> LanguageModel:
    """A model with a state, which transformers' `generate` decodes."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=3, state_size=4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LanguageModel("mamba", MambaForCausalLM(config).eval(), tokenizer)


def conditions_of(
    model: LanguageModel, positions: Positions = "all"
) -> list[tuple[Intervention, ...]]:
    top = model.n_layers - 1
    a, b = (
        3 * torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    return [
        (),
        (Addition(1, a, positions=positions),),
        (Addition(1, b, -1.0, positions=positions), Addition(top, a, positions=positions)),
        (Ablation(top, a, positions=positions),),
        (Cap(1, b, high=0.0, positions=positions),),
        (Projection(1, a, 4.0, positions=positions), Addition(0, b, 0.1, positions=positions)),
    ]


def side_by_side(
    model: LanguageModel,
    conditions: list[tuple[Intervention, ...]],
    sampling: Sampling,
    batch_size: int | None,
) -> dict[str, str]:
    """All conditions in one call; rows of one question share a random stream."""
    prompts = [model.prompt(question) for question in QUESTIONS]
    cells = [(c, q) for c in range(len(conditions)) for q in range(len(QUESTIONS))]
    return generate_texts(
        model,
        [f"{c}|{q}" for c, q in cells],
        [prompts[q] for _, q in cells],
        sampling,
        streams=[str(q) for _, q in cells],
        interventions=[conditions[c] for c, _ in cells],
        batch_size=batch_size,
    )


def one_at_a_time(
    model: LanguageModel, conditions: list[tuple[Intervention, ...]], sampling: Sampling
) -> dict[str, str]:
    """Every row in a call of one row under `steer`."""
    texts = {}
    for c, items in enumerate(conditions):
        for q, question in enumerate(QUESTIONS):
            with steer(model, *items):
                one = generate_texts(model, [str(q)], [model.prompt(question)], sampling)
            texts[f"{c}|{q}"] = one[str(q)]
    return texts


@pytest.mark.parametrize(
    ("architecture", "sampling"),
    # How a token is chosen does not depend on the architecture.
    [
        *((name, DRAWN) for name in (*ARCHITECTURES, *MULTIMODAL)),
        ("llama", GREEDY),
        ("opt", GREEDY),
    ],
    ids=lambda value: value if isinstance(value, str) else f"temperature{value.temperature:g}",
)
def test_every_row_is_what_it_is_alone(architecture: str, sampling: Sampling) -> None:
    model = tiny(architecture)
    conditions = conditions_of(model)
    alone = one_at_a_time(model, conditions, sampling)
    assert side_by_side(model, conditions, sampling, 7) == alone
    answers = {
        tuple(alone[f"{c}|{q}"] for q in range(len(QUESTIONS))) for c in range(len(conditions))
    }
    # Of a random model, many answers are the same token again and again.
    assert len(answers) > 1


@pytest.mark.parametrize("positions", ["prompt", "last", "response"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "opt", "gemma3_with_eyes"])
def test_at_some_positions_too(architecture: str, positions: Positions) -> None:
    model = tiny(architecture)
    conditions = conditions_of(model, positions)
    alone = one_at_a_time(model, conditions, DRAWN)
    assert side_by_side(model, conditions, DRAWN, 7) == alone
    assert side_by_side(model, conditions, DRAWN, None) == alone


@pytest.mark.parametrize("positions", ["all", "response"])
def test_a_recurrent_model_too(positions: Positions) -> None:
    model = mamba()
    conditions = conditions_of(model, positions)
    alone = one_at_a_time(model, conditions, DRAWN)
    assert side_by_side(model, conditions, DRAWN, 4) == alone
    assert len({alone[f"{c}|0"] for c in range(len(conditions))}) > 2


@contextmanager
def counting_prompts(model: LanguageModel) -> Iterator[list[int]]:
    """The number of rows of every forward pass that reads prompts."""
    counts: list[int] = []

    def count(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        n_rows, n_tokens = kwargs["input_ids"].shape
        if n_tokens > 1:
            counts.append(n_rows)

    handle = model.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counts
    finally:
        handle.remove()


@pytest.mark.parametrize(("positions", "n_prompts"), [("response", 1), ("all", 6)])
def test_a_prompt_is_read_once_for_all_conditions_that_do_not_touch_it(
    positions: Positions, n_prompts: int
) -> None:
    model = tiny()
    conditions = conditions_of(model, positions)
    with counting_prompts(model) as counts:
        side_by_side(model, conditions, GREEDY, None)
    assert sum(counts) == n_prompts * len(QUESTIONS)


def test_the_same_condition_reads_a_prompt_once_for_all_samples() -> None:
    model = tiny()
    items = conditions_of(model)[1]
    names = [str(i) for i in range(6)]
    with counting_prompts(model) as counts:
        generate_texts(
            model, names, [model.prompt(QUESTIONS[0])] * 6, DRAWN, interventions=[items] * 6
        )
    assert sum(counts) == 1


def test_hooks_around_a_call_come_before_those_of_its_rows() -> None:
    model = tiny()
    add, remove = conditions_of(model)[1][0], Ablation(1, conditions_of(model)[1][0].vector)
    with steer(model, add):
        nested = side_by_side(model, [(), (remove,)], DRAWN, 3)
    assert nested == one_at_a_time(model, [(add,), (add, remove)], DRAWN)


def test_one_row_that_does_not_fit_the_model_is_refused_before_anything_is_generated() -> None:
    model = tiny()
    wrong = (Addition(9, torch.ones(model.hidden_dim)),)
    seen: list[Any] = []
    with pytest.raises(TraitvecError, match="Addition at layer 9"):
        generate_texts(
            model, ["a", "b"], [model.prompt(QUESTIONS[0])] * 2, GREEDY,
            interventions=[(), wrong], on_finished=seen.extend,
        )  # fmt: skip
    assert seen == []


def test_memory_that_runs_out_in_a_steered_batch_changes_nothing() -> None:
    model = tiny()
    conditions = conditions_of(model)
    whole = side_by_side(model, conditions, DRAWN, 8)
    most = 4

    def fail(_module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if len(hidden) > most:
            raise torch.OutOfMemoryError("out of memory")

    handle = model.blocks[1].register_forward_pre_hook(fail, with_kwargs=True)
    try:
        assert side_by_side(model, conditions, DRAWN, 8) == whole
    finally:
        handle.remove()


def test_a_server_refuses_to_steer_in_one_line() -> None:
    model = make_model()
    options = EngineOptions("embedded", lambda: model, url="http://127.0.0.1:9/v1")
    engine = load_engine("server", options)
    items = [(Addition(1, torch.ones(engine.language_model.hidden_dim)),)]
    with pytest.raises(TraitvecError, match="engine: server cannot steer") as error:
        generate_texts(engine, ["a"], ["What?"], GREEDY, interventions=items)
    assert "\n" not in str(error.value)
