"""Stage 1a: which responses are asked for, and that each depends on nothing but itself."""

import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.architectures import ARCHITECTURES, make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_responses, plan_responses
from traitvec_core.generation.choice import choose_tokens, numbers_of
from traitvec_core.generation.request import Generated
from traitvec_core.generation.responses import RESPONSE_COLUMNS, generate_texts
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.trait import InstructionPair, TraitDefinition


def definition(n_questions: int, n_instructions: int) -> TraitDefinition:
    return TraitDefinition(
        instruction=[
            InstructionPair(pos=f"Be very kind ({i}).", neg=f"Be very rude ({i}), please, always.")
            for i in range(n_instructions)
        ],
        questions=[f"Question {i}?" + " And why?" * (i % 3) for i in range(n_questions)],
        eval_prompt="{question} {answer}",
    )


_ID = re.compile(r"my_trait_(\d+)_(pos|neg)_(\d+)_(\d+)")


def cells_of(n_questions: int, n_instructions: int, n: int) -> list[tuple[int, int, int]]:
    planned = plan_responses("my_trait", definition(n_questions, n_instructions), n)
    assert len(planned) == 2 * n
    assert [item.pole for item in planned] == ["pos"] * n + ["neg"] * n
    found: dict[str, list[tuple[int, int, int]]] = {"pos": [], "neg": []}
    for item in planned:
        match = _ID.fullmatch(item.question_id)
        assert match
        question, pole, instruction, sample = match.groups()
        assert pole == item.pole
        assert item.question == definition(n_questions, n_instructions).questions[int(question)]
        assert f"({instruction})" in item.instruction
        assert ("kind" in item.instruction) == (pole == "pos")
        found[pole].append((int(question), int(instruction), int(sample)))
    assert found["pos"] == found["neg"]
    return found["pos"]


@settings(max_examples=60)
@given(n_questions=st.integers(2, 24), n_instructions=st.integers(1, 9), n=st.integers(1, 260))
def test_every_prefix_of_the_plan_is_balanced(
    n_questions: int, n_instructions: int, n: int
) -> None:
    cells = cells_of(n_questions, n_instructions, n)
    assert len(set(cells)) == n
    questions = np.zeros(n_questions, int)
    instructions = np.zeros(n_instructions, int)
    grid = np.zeros((n_questions, n_instructions), int)
    for question, instruction, sample in cells:
        # The sample counts how often this cell was there before.
        assert sample == grid[question, instruction]
        questions[question] += 1
        instructions[instruction] += 1
        grid[question, instruction] += 1
        assert np.ptp(questions) <= 1
        assert np.ptp(instructions) <= 1
        assert np.ptp(grid) <= 1


def test_a_hundred_of_five_by_twenty_is_the_whole_grid_once() -> None:
    cells = cells_of(20, 5, 100)
    assert set(cells) == {(q, i, 0) for q in range(20) for i in range(5)}
    ten = cells_of(20, 5, 10)
    assert len({q for q, _, _ in ten}) == 10
    assert Counter(i for _, i, _ in ten) == dict.fromkeys(range(5), 2)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make_model("llama")


PLANNED = plan_responses("my_trait", definition(7, 3), 11)
SAMPLING = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.95, seed=3)


@pytest.fixture(scope="module")
def table(model: LanguageModel) -> pd.DataFrame:
    return generate_responses(model, PLANNED, SAMPLING, batch_size=5)


def test_the_table_is_in_the_plans_order(model: LanguageModel, table: pd.DataFrame) -> None:
    assert tuple(table.columns) == RESPONSE_COLUMNS
    assert list(table["question_id"]) == [item.question_id for item in PLANNED]
    for row, item in zip(table.to_dict("records"), PLANNED, strict=True):
        assert (row["question"], row["instruction"]) == (item.question, item.instruction)
        assert row["prompt"] == model.prompt(item.question, item.instruction)
        assert row["prompt_tokens"] == len(model.encode_prompt(row["prompt"]))
        assert row["response_tokens"] <= 12
        assert (row["finish_reason"] == "length") == (row["response_tokens"] == 12)
    assert table["response"].nunique() > 15


@pytest.mark.parametrize("batch_size", [1, 64])
def test_responses_do_not_depend_on_the_batch(
    model: LanguageModel, table: pd.DataFrame, batch_size: int
) -> None:
    other = generate_responses(model, PLANNED, SAMPLING, batch_size=batch_size)
    pd.testing.assert_frame_equal(other, table)


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a != "llama"])
def test_no_architecture_depends_on_the_batch(architecture: str) -> None:
    other = make_model(architecture)
    alone = generate_responses(other, PLANNED[:6], SAMPLING, batch_size=1)
    together = generate_responses(other, PLANNED[:6], SAMPLING, batch_size=6)
    pd.testing.assert_frame_equal(alone, together)


def test_responses_do_not_depend_on_order_or_padding_side(table: pd.DataFrame) -> None:
    model = make_model("llama")
    model.tokenizer.padding_side = "right"
    backwards = generate_responses(model, PLANNED[::-1], SAMPLING, batch_size=4)
    pd.testing.assert_frame_equal(backwards[::-1].reset_index(drop=True), table)


def test_the_seed_alone_makes_the_difference(model: LanguageModel, table: pd.DataFrame) -> None:
    torch.manual_seed(123)
    again = generate_responses(model, PLANNED, SAMPLING, batch_size=5)
    pd.testing.assert_frame_equal(again, table)
    other = generate_responses(model, PLANNED, SAMPLING.model_copy(update={"seed": 4}))
    assert (other["response"] != table["response"]).mean() > 0.8


def test_samples_of_one_cell_differ(model: LanguageModel) -> None:
    planned = plan_responses("my_trait", definition(2, 1), 6)
    responses = generate_responses(model, planned, SAMPLING)
    assert responses.groupby("prompt")["response"].nunique().min() == 3


@pytest.mark.parametrize("n_finished", [0, 3, 10, 22])
def test_a_resumed_run_ends_as_an_undisturbed_one(
    model: LanguageModel, table: pd.DataFrame, n_finished: int
) -> None:
    seen: list[dict[str, Any]] = []
    generate_responses(model, PLANNED, SAMPLING, batch_size=5, on_batch=seen.extend)
    assert len(seen) == len(PLANNED)
    finished, missing = seen[:n_finished], seen[n_finished:]
    later: list[dict[str, Any]] = []
    resumed = generate_responses(
        model, PLANNED, SAMPLING, batch_size=5, finished=finished, on_batch=later.extend
    )
    pd.testing.assert_frame_equal(resumed, table)
    assert later == missing


def test_a_run_killed_midway_has_reported_what_it_finished(
    model: LanguageModel, table: pd.DataFrame
) -> None:
    seen: list[dict[str, Any]] = []

    def die_at_the_second(rows: list[dict[str, Any]]) -> None:
        seen.extend(rows)
        if len(seen) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_responses(model, PLANNED, SAMPLING, batch_size=5, on_batch=die_at_the_second)
    assert 5 < len(seen) < len(PLANNED)
    later: list[dict[str, Any]] = []
    resumed = generate_responses(
        model, PLANNED, SAMPLING, batch_size=5, finished=seen, on_batch=later.extend
    )
    pd.testing.assert_frame_equal(resumed, table)
    assert len(later) == len(PLANNED) - len(seen)


def test_choices_follow_the_distribution() -> None:
    n, vocabulary = 20_000, 5
    logits = torch.tensor([0.0, 1.0, -2.0, 2.0, -torch.inf])
    names = [f"row {i}" for i in range(n)]
    plain = Sampling(max_new_tokens=2, seed=1, temperature=1, top_p=1)
    numbers = numbers_of(names, plain)
    expected = logits.double().softmax(0).numpy()
    counts = []
    for step in range(2):
        chosen = choose_tokens(logits.expand(n, vocabulary), numbers[:, step], plain)
        counts.append(np.bincount(chosen.numpy(), minlength=vocabulary))
    for observed in counts:
        assert observed[4] == 0
        chi_square = ((observed[:4] - n * expected[:4]) ** 2 / (n * expected[:4])).sum()
        assert chi_square < 16.3  # the 99.9th percentile at three degrees of freedom
    # The second number of a row's stream is independent of the first.
    assert (counts[0] != counts[1]).any()


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(0.5, 0.5), (2.0, 0.9), (1.0, 0.99), (0.7, 1.0)]
)
def test_first_tokens_of_a_model_follow_its_softmax(temperature: float, top_p: float) -> None:
    model = make_model("llama")
    prompt = model.prompt("What?")
    ids = torch.tensor([model.encode_prompt(prompt)])
    with torch.inference_mode():
        logits = model.model(input_ids=ids).logits[0, -1].double()
    expected = (logits / temperature).softmax(0)
    # Nucleus by hand: the likeliest tokens until that share of the mass is reached.
    order = expected.argsort(descending=True)
    kept = order[: int((expected[order].cumsum(0) < top_p).sum()) + 1]
    nucleus = torch.zeros_like(expected)
    nucleus[kept] = expected[kept] / expected[kept].sum()

    n = 150
    sampling = Sampling(max_new_tokens=1, temperature=temperature, top_p=top_p)
    names = [str(i) for i in range(n)]
    numbers = numbers_of(names, sampling)[:, 0].numpy()
    # The same numbers, inverted by hand: exactly these tokens must come out.
    by_hand = np.searchsorted(nucleus.cumsum(0).numpy(), numbers, side="right")
    texts = generate_texts(model, names, [prompt] * n, sampling)
    for name, token in zip(names, by_hand.tolist(), strict=True):
        assert texts[name] == model.tokenizer.decode([token], skip_special_tokens=True)
    assert len(set(by_hand)) > min(len(kept), 30) / 2


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox"])
def test_temperature_zero_is_greedy(architecture: str) -> None:
    model = make_model(architecture)
    prompts = [model.prompt(f"Question {i}?" * (i + 1)) for i in range(4)]
    greedy = Sampling(temperature=0, max_new_tokens=15)
    names = [str(i) for i in range(4)]
    texts = generate_texts(model, names, prompts, greedy, batch_size=4)
    for name, prompt in zip(names, prompts, strict=True):
        ids = torch.tensor([model.encode_prompt(prompt)])
        output = model.model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=15
        )
        new = output[0, ids.shape[1] :].tolist()
        assert texts[name] == model.tokenizer.decode(new, skip_special_tokens=True)


def test_the_checkpoints_own_generation_config_is_ignored_and_kept(
    model: LanguageModel, table: pd.DataFrame
) -> None:
    other = make_model("llama")
    config = other.model.generation_config
    config.repetition_penalty = 5.0
    config.no_repeat_ngram_size = 2
    config.suppress_tokens = list(range(100, 300))
    config.min_new_tokens = 12
    config.do_sample = True
    config.temperature = 0.1
    config.top_k = 1
    assert other.end_token_ids == model.end_token_ids
    again = generate_responses(other, PLANNED, SAMPLING, batch_size=5)
    pd.testing.assert_frame_equal(again, table)
    assert other.model.generation_config is config


def test_a_response_ends_before_its_end_token() -> None:
    model = make_model("llama")
    prompt = model.prompt("What?")
    greedy = Sampling(temperature=0, max_new_tokens=15)
    first: list[Generated] = []
    generate_texts(model, ["a"], [prompt], greedy, on_finished=first.extend)
    assert first[0].finish_reason == "length"
    ids = torch.tensor([model.encode_prompt(prompt)])
    new = model.model.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=15
    )[0, ids.shape[1] :].tolist()
    # The fifth token now ends a turn.
    ending = make_model("llama")
    ending.model.generation_config.eos_token_id = [2, new[4]]
    cut = new.index(new[4])
    rows: list[Generated] = []
    generate_texts(
        ending, ["a", "b"], [prompt, "<s>x"], greedy, batch_size=2, on_finished=rows.extend
    )
    row = next(row for row in rows if row.name == "a")
    assert row.finish_reason == "stop"
    assert row.response_tokens == cut
    assert row.response == model.tokenizer.decode(new[:cut], skip_special_tokens=True)


def test_a_prompt_that_does_not_fit_names_its_row(model: LanguageModel) -> None:
    long = definition(3, 1)
    long.questions[1] = "Why? " * 400
    planned = plan_responses("my_trait", long, 3)
    calls: list[Any] = []
    with pytest.raises(TraitvecError) as error:
        generate_responses(model, planned, SAMPLING, on_batch=calls.append)
    text = str(error.value)
    assert "my_trait_1_pos_0_0" in text
    assert "512" in text
    assert "\n" not in text
    assert not calls
    assert model.context_tokens is not None
    too_many = Sampling(max_new_tokens=model.context_tokens, temperature=0)
    with pytest.raises(TraitvecError, match="max_new_tokens"):
        generate_texts(model, ["x"], ["<s>What?"], too_many)


def test_streams_are_pinned() -> None:
    """A change here changes every stored response: raise the stage's version with it."""
    numbers = numbers_of(["a", "b"], Sampling(max_new_tokens=2, seed=7))
    assert numbers.shape == (2, 2)
    assert math.isclose(float(numbers[0, 0]), STREAM_A, rel_tol=1e-15)


STREAM_A = 0.09893405140679856
