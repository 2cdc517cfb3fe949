"""Every engine reports the tokens that it generated, and where the answer begins among them."""

from pathlib import Path
from typing import Any

import pytest

from tests.generation.completions import CompletionsServer, Manners, decode_plainly, serving
from tests.models.architectures import END, bias_logits, make_model
from traitvec_core.experiment import Sampling
from traitvec_core.generation import (
    EngineOptions,
    decode_response,
    generate_responses,
    generate_texts,
    load_engine,
    plan_responses,
)
from traitvec_core.generation.choice import seed_of
from traitvec_core.generation.request import Generated, Request
from traitvec_core.generation.text import read_tokens
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.response_ids import ResponseIds
from traitvec_core.trait import InstructionPair, TraitDefinition

DRAWN = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=14, seed=5)
NAMES = [str(i) for i in range(8)]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    model = make_model("llama")
    bias_logits(model, dict.fromkeys(model.end_token_ids, 2.5))
    return model


def prompts_of(model: LanguageModel) -> list[str]:
    return [model.prompt(f"What is number {name}?", "Be brief.") for name in NAMES]


def generated(engine: Any, model: LanguageModel, sampling: Sampling = DRAWN) -> list[Generated]:
    done: dict[str, Generated] = {}
    generate_texts(
        engine, NAMES, prompts_of(model), sampling,
        on_finished=lambda texts: done.update({text.name: text for text in texts}),
    )  # fmt: skip
    return [done[name] for name in NAMES]


def test_ids_are_the_tokens_of_the_response_without_the_end(model: LanguageModel) -> None:
    rows = generated(model, model)
    assert {row.finish_reason for row in rows} == {"stop", "length"}
    for row in rows:
        assert row.ids is not None
        assert len(row.ids) == row.response_tokens
        assert not set(row.ids) & set(model.end_token_ids)
        assert row.n_thinking == 0
        assert decode_response(model, ResponseIds(row.ids)) == row.response


def test_greedy_ids_are_those_of_a_plain_decoder(model: LanguageModel) -> None:
    greedy = Sampling(temperature=0, max_new_tokens=9)
    for row, prompt in zip(generated(model, model, greedy), prompts_of(model), strict=True):
        tokens = decode_plainly(model, model.encode_prompt(prompt), 9, 0, 0)
        expected = [token for token in tokens if token not in model.end_token_ids]
        assert list(row.ids or ()) == expected


THINKING = [
    ("<think>\nHm, well.\n</think>\n\n", "Yes, ☕ I think.", ""),
    ("\n</think>\n\n", "Yes.", "<think>\n"),
    ("Hm ☕</think>", "☕ Yes.", "<think>\n"),
    ("[THINK]Hm.[/THINK] ", "Yes. </think> No.", ""),
]


@pytest.mark.parametrize(("thinking", "answer", "opened"), THINKING)
def test_thinking_is_kept_apart_from_the_answers_tokens(
    model: LanguageModel, thinking: str, answer: str, opened: str
) -> None:
    before, after = (
        model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (thinking, answer)
    )
    request = Request("a", model.prompt("What?") + opened, [1])
    row = read_tokens(model, request, [*before, *after, model.end_token_ids[0]])
    assert row.response == answer
    assert row.ids == (*before, *after)
    assert row.n_thinking == len(before)
    assert decode_response(model, ResponseIds(row.ids, row.n_thinking)) == answer


def test_an_answer_may_begin_with_the_space_of_its_first_token(model: LanguageModel) -> None:
    before, after = (
        model.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in ("<think>Hm.</think>", " the moon.")
    )
    assert model.tokenizer.decode(after[0]).strip()
    row = read_tokens(model, Request("a", "What?", [1]), [*before, *after])
    assert (row.response, row.n_thinking) == ("the moon.", len(before))


def test_a_response_cut_off_while_thinking_has_no_token_of_an_answer(model: LanguageModel) -> None:
    tokens = model.tokenizer("<think>\nHm, and so", add_special_tokens=False)["input_ids"]
    row = read_tokens(model, Request("a", "What?", [1]), tokens)
    assert row.response == ""
    assert row.n_thinking == len(tokens) == len(row.ids or ())


def test_special_tokens_inside_a_response_stay_among_its_ids(model: LanguageModel) -> None:
    special = model.tokenizer.convert_tokens_to_ids(END)
    inside = [*model.tokenizer("Yes.", add_special_tokens=False)["input_ids"], special, 40]
    row = read_tokens(model, Request("a", "What?", [1]), inside)
    assert row.ids == tuple(inside)
    assert END not in row.response


def test_rows_hold_ids_beside_the_columns_of_the_table(model: LanguageModel) -> None:
    definition = TraitDefinition(
        instruction=[InstructionPair(pos="Be kind.", neg="Be rude.")],
        questions=["What?", "Why?"],
        eval_prompt="{question} {answer}",
    )
    rows: list[dict[str, Any]] = []
    table = generate_responses(
        model, plan_responses("t", definition, 2), DRAWN, on_batch=rows.extend
    )
    assert not {"token_ids", "n_thinking"} & set(table.columns)
    by_name = {row["question_id"]: row for row in rows}
    for record in table.to_dict("records"):
        row = by_name[record["question_id"]]
        assert len(row["token_ids"]) == record["response_tokens"]
        kept = ResponseIds(tuple(row["token_ids"]), row["n_thinking"])
        assert decode_response(model, kept) == record["response"]


# -- a server ---------------------------------------------------------------------------------


def served(model: LanguageModel, folder: Path, server: CompletionsServer) -> list[Generated]:
    model.model.config.save_pretrained(folder)
    model.model.generation_config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    with serving(server):
        options = EngineOptions(str(folder), lambda: model, url=server.url)
        return generated(load_engine("server", options), model)


def test_a_server_that_returns_ids_is_asked_for_them(model: LanguageModel, tmp_path: Path) -> None:
    rows = served(model, tmp_path, CompletionsServer(model))
    for row, prompt in zip(rows, prompts_of(model), strict=True):
        tokens = decode_plainly(
            model, model.encode_prompt(prompt), 14, 1.0, seed_of(row.name, DRAWN.seed)
        )
        assert list(row.ids or ()) == [t for t in tokens if t not in model.end_token_ids]
        assert row.response_tokens == len(row.ids or ())
        assert row.finish_reason == ("stop" if tokens[-1] in model.end_token_ids else "length")


@pytest.mark.parametrize("manners", ["vllm_0.6", "llama.cpp", "openai"])
def test_a_server_that_refuses_or_ignores_that_still_works(
    model: LanguageModel, tmp_path: Path, manners: Manners
) -> None:
    with_ids = served(model, tmp_path, CompletionsServer(model))
    rows = served(model, tmp_path, CompletionsServer(model, manners))
    assert [row.response for row in rows] == [row.response for row in with_ids]
    assert [row.ids for row in rows] == [None] * len(NAMES)


def test_ids_that_are_not_those_of_the_text_are_left_out(
    model: LanguageModel, tmp_path: Path
) -> None:
    right = served(model, tmp_path, CompletionsServer(model))
    wrong = served(model, tmp_path, CompletionsServer(model, shift=1))
    assert [row.response for row in wrong] == [row.response for row in right]
    assert all(row.ids is None for row in wrong if row.response.strip())
