"""Openings on a server of completions: it reads the prompt's tokens, and writes the response."""

from pathlib import Path
from typing import Any

import pytest

from tests.generation.completions import CompletionsServer, Manners, decode_plainly, serving
from tests.models.architectures import TEMPLATES, bias_logits, make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import (
    EngineOptions,
    generate_responses,
    load_engine,
    plan_responses,
)
from traitvec_core.generation.choice import seed_of
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.trait import InstructionPair, TraitDefinition

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=12, seed=5)
DEFINITION = TraitDefinition(
    scenarios=[
        InstructionPair(pos="I agreed. I wrote: ", neg="I argued. I wrote: "),
        InstructionPair(pos='Asked "{question}", he agreed:', neg='Asked "{question}", he argued:'),
    ],
    questions=["What should I cook?", "How do I learn to swim?"],
    eval_prompt="{question} {answer}",
)
PLANNED = plan_responses("t", DEFINITION, 4, "scenarios")


def make(writes_bos: bool) -> LanguageModel:
    model = make_model("llama", "system")
    bias_logits(model, dict.fromkeys(model.end_token_ids, 2.5))
    if not writes_bos:
        model.tokenizer.chat_template = str(TEMPLATES["system"]).removeprefix("<s>")
    return model


def answer(model: LanguageModel, folder: Path, server: CompletionsServer) -> list[dict[Any, Any]]:
    model.model.config.save_pretrained(folder)
    model.model.generation_config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    with serving(server):
        engine = load_engine("server", EngineOptions(str(folder), lambda: model, url=server.url))
        table = generate_responses(engine, PLANNED, SAMPLING, elicited_by="scenarios")
    return table.to_dict("records")


@pytest.mark.parametrize("manners", ["vllm", "vllm_0.6", "llama.cpp", "openai", "no_bos"])
def test_each_kind_of_server_reads_exactly_the_prompt(tmp_path: Path, manners: Manners) -> None:
    model = make(writes_bos=True)
    rows = answer(model, tmp_path, CompletionsServer(model, manners))
    for row, item in zip(rows, PLANNED, strict=True):
        assert row["prompt"] == model.opened_prompt(item.question, item.instruction)
        ids = model.encode_prompt(row["prompt"])
        tokens = decode_plainly(model, ids, 12, 1.0, seed_of(item.question_id, SAMPLING.seed))
        assert row["response"] == model.tokenizer.decode(tokens, skip_special_tokens=True)
        assert row["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("manners", ["vllm", "vllm_0.6"])
def test_a_story_gets_the_bos_that_the_chat_template_leaves_out(
    tmp_path: Path, manners: Manners
) -> None:
    model = make(writes_bos=False)
    server = CompletionsServer(model, manners)
    rows = answer(model, tmp_path, server)
    bos = model.tokenizer.bos_token_id
    begins = {model.encode_prompt(row["prompt"])[0] == bos for row in rows}
    assert begins == {True, False}
    assert {tuple(ids) for ids in server.read} == {
        tuple(model.encode_prompt(row["prompt"])) for row in rows
    }


def test_a_server_that_adds_its_own_turns_is_refused_in_one_line(tmp_path: Path) -> None:
    model = make(writes_bos=True)
    with pytest.raises(TraitvecError, match="adds its own template") as error:
        answer(model, tmp_path, CompletionsServer(model, "template"))
    assert "\n" not in str(error.value)
