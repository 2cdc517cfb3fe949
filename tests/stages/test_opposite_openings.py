"""The stage `activations` with openings: each completion is read after the opposite one, too."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.models.architectures import make_model
from tests.stages.test_activations import SETTINGS, captured, judged_rows
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.storage.folders import TraitFolder

TOLD = SETTINGS.model_copy(update={"elicitation": "scenarios"})
QUESTIONS = ["What should I cook?", "How do I swim?", "Why did I write: I agreed?", "Is it big?"]
PAIRS = [
    {"pos": "I agreed. ", "neg": "I argued. "},
    {"pos": 'Asked "{question}", he agreed:', "neg": 'Asked "{question}", he argued:'},
]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make_model("llama", "raises")


@pytest.fixture
def folder(tmp_path: Path, own_environment: None) -> TraitFolder:
    folder = TraitFolder(tmp_path / "tiny", "kind")
    folder.path.mkdir(parents=True)
    definition = {"scenarios": PAIRS, "questions": QUESTIONS, "eval_prompt": "{question} {answer}"}
    folder.definition_path.write_text(json.dumps(definition))
    return folder


def check_opposites(folder: TraitFolder, model: LanguageModel, begin: str = "") -> None:
    rows, ids, texts = judged_rows(folder), folder.read_token_ids(), []
    for row in rows:
        pair = PAIRS[int(row["question_id"].split("_")[-2])]
        opening = pair["neg"] if row["pole"] == "pos" else pair["pos"]
        texts.append((begin + model.opened_prompt(row["question"], opening), row["response"]))
    expected = capture_means(model, texts, response_ids=[ids[row["question_id"]] for row in rows])
    stored = folder.read_opposite_activations()
    assert stored is not None
    torch.testing.assert_close(stored.float(), expected, rtol=2e-3, atol=2e-3)


def test_the_opposite_opening_takes_the_place_of_the_own(
    folder: TraitFolder, model: LanguageModel
) -> None:
    manifest = captured(folder, model, TOLD)
    assert manifest.opposite_instruction == ""
    assert manifest.n_from_ids == manifest.n_examples > 8
    check_opposites(folder, model)


def test_it_does_so_in_a_prompt_that_the_template_does_not_give(
    folder: TraitFolder, model: LanguageModel
) -> None:
    def date(table: pd.DataFrame) -> None:
        table["prompt"] = "Today. " + table["prompt"]

    assert captured(folder, model, TOLD, date).opposite_instruction == ""
    check_opposites(folder, model, begin="Today. ")


def test_a_prompt_with_another_ending_is_not_read_again(
    folder: TraitFolder, model: LanguageModel
) -> None:
    def edit(table: pd.DataFrame) -> None:
        # The opening is there, but the prompt goes on after it.
        table["prompt"] += " And"

    reason = captured(folder, model, TOLD, edit).opposite_instruction
    assert reason.endswith("does not contain the definition's opening")
    assert folder.read_opposite_activations() is None
