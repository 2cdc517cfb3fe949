"""The stage `activations`: from which tokens, and in which contexts, each response is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.models.architectures import make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation import plan_responses
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.response_ids import ResponseIds
from traitvec_core.stage_names import Stage
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.stages.provenance import current_key
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import response_csvs
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.storage.provenance import Provenance

# What stands behind # is part of the instruction and not of the prompt; see `cut_instructions`.
PAIRS = [
    {"pos": "Be kind.# Always.", "neg": "Be kind.# Never."},
    {"pos": "Answer politely, please.", "neg": "Answer rudely."},
]
SETTINGS = ExperimentSettings.model_validate(
    {
        "model": "embedded",
        "judge_model": "embedded",
        "n_examples": 8,
        "sampling": {"max_new_tokens": 10, "temperature": 1.0, "top_p": 1.0, "seed": 2},
    }
)
Progress = list[tuple[Stage, int, int]]


def cut_instructions(model: LanguageModel) -> LanguageModel:
    """Have the template leave out all that stands behind # in a turn."""
    template = str(model.tokenizer.chat_template)
    cut = template.replace("message['content']", "message['content'].split('#')[0]")
    assert cut != template
    model.tokenizer.chat_template = cut
    return model


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return cut_instructions(make_model("llama"))


@pytest.fixture
def folder(tmp_path: Path, own_environment: None) -> TraitFolder:
    folder = TraitFolder(tmp_path / "tiny", "kind")
    folder.path.mkdir(parents=True)
    define(folder, PAIRS)
    return folder


def define(folder: TraitFolder, pairs: list[dict[str, str]]) -> None:
    definition = {
        "instruction": pairs,
        "questions": ["What should I cook?", "How do I swim?", "Why?", "Is the moon big?"],
        "eval_prompt": "{question} {answer}",
    }
    folder.definition_path.write_text(json.dumps(definition))


def bench(model: LanguageModel, seen: Progress | None = None) -> Workbench:
    def progress(stage: Stage, done: int, total: int, note: str = "", **_: object) -> None:
        if seen is not None:
            seen.append((stage, done, total))

    return Workbench(load_model=lambda name, options: model, progress=progress)


def judge(
    folder: TraitFolder,
    settings: ExperimentSettings = SETTINGS,
    change: Callable[[pd.DataFrame], None] = lambda table: None,
) -> None:
    """Write judged responses with the scores of their poles; positives first."""
    table = folder.read_responses("responses")
    table["trait_score"] = (table["pole"] == "pos") * 90.0
    table["coherence_score"] = 80.0
    change(table)
    made = Provenance(
        stage="judged_responses",
        key=current_key("judged_responses", folder, settings),
        inputs={},
        settings={},
    )
    folder.commit("judged_responses", response_csvs(table, ""), {}, made)


def captured(
    folder: TraitFolder,
    model: LanguageModel,
    settings: ExperimentSettings = SETTINGS,
    change: Callable[[pd.DataFrame], None] = lambda table: None,
) -> ActivationsManifest:
    make("responses", folder, settings, bench(model))
    judge(folder, settings, change)
    make("activations", folder, settings, bench(model))
    return folder.manifest(ActivationsManifest)


def judged_rows(folder: TraitFolder) -> list[dict[str, Any]]:
    table = folder.read_responses().set_index("question_id", drop=False)
    manifest = folder.manifest(ActivationsManifest)
    return [{str(k): v for k, v in table.loc[name].items()} for name in manifest.question_ids]


def opposite_prompts(folder: TraitFolder, model: LanguageModel) -> list[str]:
    pairs = folder.definition().instruction
    prompts = []
    for row in judged_rows(folder):
        pair = pairs[int(row["question_id"].split("_")[-2])]
        prompts.append(
            model.prompt(row["question"], pair.neg if row["pole"] == "pos" else pair.pos)
        )
    return prompts


# -- token ids --------------------------------------------------------------------------------


def test_examples_are_read_from_the_generated_tokens(
    folder: TraitFolder, model: LanguageModel
) -> None:
    manifest = captured(folder, model)
    assert manifest.n_from_ids == manifest.n_examples > 8
    assert manifest.n_tokenised_again == 0
    ids = folder.read_token_ids()
    rows = judged_rows(folder)
    texts = [(row["prompt"], row["response"]) for row in rows]
    exact = capture_means(model, texts, response_ids=[ids[row["question_id"]] for row in rows])
    stored = folder.read_activations().float()
    torch.testing.assert_close(stored, exact, rtol=2e-3, atol=2e-3)
    assert (stored - capture_means(model, texts)).abs().max() > 0.1


def test_every_response_has_its_ids_in_the_order_of_the_plan(
    folder: TraitFolder, model: LanguageModel
) -> None:
    make("responses", folder, SETTINGS, bench(model))
    table = folder.read_responses("responses")
    ids = folder.read_token_ids()
    assert list(ids) == table["question_id"].tolist()
    assert [len(row.ids) for row in ids.values()] == table["response_tokens"].tolist()


def test_a_text_changed_after_generation_is_tokenised_again(
    folder: TraitFolder, model: LanguageModel
) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[[0, 9], "response"] = ["I cannot help with that.", "It depends."]

    manifest = captured(folder, model, change=change)
    assert manifest.n_tokenised_again == 2
    assert manifest.n_from_ids == manifest.n_examples - 2
    rows = judged_rows(folder)
    place = next(i for i, row in enumerate(rows) if row["response"] == "I cannot help with that.")
    again = capture_means(model, [(rows[place]["prompt"], rows[place]["response"])])
    torch.testing.assert_close(
        folder.read_activations()[[place]].float(), again, rtol=2e-3, atol=2e-3
    )


def test_responses_without_known_tokens_are_tokenised_again(
    folder: TraitFolder, model: LanguageModel
) -> None:
    make("responses", folder, SETTINGS, bench(model))
    table = folder.read_responses("responses")
    made = folder.provenance("responses")
    assert made is not None
    # As an import leaves them: text alone.
    folder.commit("responses", response_csvs(table, "raw_"), folder.metadata("responses"), made)
    assert folder.read_token_ids() == {}
    assert not (folder.path / "responses/token_ids.json").exists()
    judge(folder)
    make("activations", folder, SETTINGS, bench(model))
    manifest = folder.manifest(ActivationsManifest)
    assert manifest.n_from_ids == 0
    assert manifest.n_tokenised_again == manifest.n_examples > 8
    rows = judged_rows(folder)
    again = capture_means(model, [(row["prompt"], row["response"]) for row in rows])
    torch.testing.assert_close(folder.read_activations().float(), again, rtol=2e-3, atol=2e-3)


def test_a_resumed_run_keeps_the_ids_of_finished_responses(
    folder: TraitFolder, model: LanguageModel, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": 1})

    class KilledError(Exception):
        pass

    def kill(stage: Stage, done: int, total: int, note: str = "") -> None:
        if done >= 6:
            raise KilledError

    with pytest.raises(KilledError):
        make(
            "responses", folder, settings,
            Workbench(load_model=lambda name, options: model, progress=kill),
        )  # fmt: skip
    make("responses", folder, settings, bench(model))
    assert 0 < folder.metadata("responses")["resumed_from"] < 16
    whole = TraitFolder(tmp_path / "whole", "kind")
    whole.path.mkdir(parents=True)
    define(whole, PAIRS)
    make("responses", whole, settings, bench(model))
    assert folder.read_token_ids() == whole.read_token_ids()
    assert len(folder.read_token_ids()) == 16


def test_thinking_is_context_as_it_was_when_the_answer_was_generated(folder: TraitFolder) -> None:
    model = make_model("llama")
    model.tokenizer.chat_template = str(model.tokenizer.chat_template) + "<think>\n"
    planned = plan_responses("kind", folder.definition(), SETTINGS.n_examples)
    thought, answer = (
        tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in ("Hm.\n</think>\n\n", "It depends.")
    )
    # All are finished, so that nothing is left to generate.
    folder.journal("responses", current_key("responses", folder, SETTINGS)).append(
        [
            {
                "question": item.question,
                "instruction": item.instruction,
                "prompt": model.prompt(item.question, item.instruction),
                "response": "It depends.",
                "question_id": item.question_id,
                "prompt_tokens": 9,
                "response_tokens": len(thought) + len(answer),
                "finish_reason": "stop",
                "pole": item.pole,
                "thinking": "Hm.",
                "token_ids": [*thought, *answer],
                "n_thinking": len(thought),
            }
            for item in planned
        ]
    )
    manifest = captured(folder, model)
    assert manifest.n_from_ids == 16
    ids = ResponseIds((*thought, *answer), len(thought))
    for prompts, stored in (
        ([row["prompt"] for row in judged_rows(folder)], folder.read_activations()),
        (opposite_prompts(folder, model), folder.read_opposite_activations()),
    ):
        assert prompts[0].endswith("<think>")
        exact = capture_means(model, [(p, "") for p in prompts], response_ids=[ids] * 16)
        assert stored is not None
        torch.testing.assert_close(stored.float(), exact, rtol=2e-3, atol=2e-3)


def test_a_damaged_file_of_ids_is_an_error(folder: TraitFolder, model: LanguageModel) -> None:
    make("responses", folder, SETTINGS, bench(model))
    path = folder.path / "responses/token_ids.json"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TraitvecError, match="materialize responses again"):
        folder.read_token_ids()


# -- the opposite instruction -----------------------------------------------------------------


def test_each_example_is_read_under_the_opposite_instruction_too(
    folder: TraitFolder, model: LanguageModel
) -> None:
    manifest = captured(folder, model)
    assert manifest.opposite_instruction == ""
    opposite, own = folder.read_opposite_activations(), folder.read_activations()
    assert opposite is not None
    assert opposite.shape == own.shape
    rows, ids = judged_rows(folder), folder.read_token_ids()
    exact = capture_means(
        model, [(prompt, "") for prompt in opposite_prompts(folder, model)],
        response_ids=[ids[row["question_id"]] for row in rows],
    )  # fmt: skip
    torch.testing.assert_close(opposite.float(), exact, rtol=2e-3, atol=2e-3)


def test_the_same_prompt_for_both_poles_gives_the_same_activations(
    folder: TraitFolder, model: LanguageModel
) -> None:
    """The null: pair 0 says the same to both poles, and only pair 1 may show a difference."""
    captured(folder, model)
    opposite, own = folder.read_opposite_activations(), folder.read_activations()
    assert opposite is not None
    pairs = torch.tensor([int(row["question_id"].split("_")[-2]) for row in judged_rows(folder)])
    assert set(pairs.tolist()) == {0, 1}
    torch.testing.assert_close(
        opposite[pairs == 0].float(), own[pairs == 0].float(), rtol=2e-3, atol=2e-3
    )
    differs = (opposite[pairs == 1].float() - own[pairs == 1].float()).abs().amax((1, 2))
    assert (differs > 0.05).all()


def test_texts_tokenised_again_keep_their_tokens_in_the_other_context(
    folder: TraitFolder, model: LanguageModel
) -> None:
    def change(table: pd.DataFrame) -> None:
        table["response"] = [f"It depends on number {i}." for i in range(len(table))]

    manifest = captured(folder, model, change=change)
    assert manifest.n_from_ids == 0
    opposite, own = folder.read_opposite_activations(), folder.read_activations()
    assert opposite is not None
    # Embeddings depend on tokens alone.
    torch.testing.assert_close(opposite[:, 0], own[:, 0], rtol=1e-3, atol=1e-3)


def test_progress_counts_both_passes(folder: TraitFolder, model: LanguageModel) -> None:
    make("responses", folder, SETTINGS, bench(model))
    judge(folder)
    seen: Progress = []
    make("activations", folder, SETTINGS, bench(model, seen))
    n = len(folder.read_responses())
    counts = [done for stage, done, _ in seen if stage == "activations"]
    assert {total for stage, _, total in seen if stage == "activations"} == {2 * n}
    assert counts == sorted(counts)
    assert counts[-1] == 2 * n


def test_a_position_of_the_prompt_is_read_in_the_other_prompt(
    folder: TraitFolder, model: LanguageModel
) -> None:
    settings = SETTINGS.model_copy(update={"positions": ("prompt_last", "response_mean")})
    captured(folder, model, settings)
    opposite = folder.read_opposite_activations()
    assert opposite is not None
    exact = capture_means(
        model, [(prompt, "x") for prompt in opposite_prompts(folder, model)],
        positions=["prompt_last"],
    )["prompt_last"]  # fmt: skip
    torch.testing.assert_close(opposite.float(), exact, rtol=2e-3, atol=2e-3)
    assert not (folder.path / "activations/opposite_instruction_response_mean.pt").exists()


def test_prompts_that_the_definition_does_not_give_are_left_out_with_the_reason(
    folder: TraitFolder, model: LanguageModel
) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[3, "prompt"] = "A prompt of another tool. "

    seen: Progress = []
    make("responses", folder, SETTINGS, bench(model))
    judge(folder, change=change)
    make("activations", folder, SETTINGS, bench(model, seen))
    manifest = folder.manifest(ActivationsManifest)
    name = folder.read_responses()["question_id"][3]
    assert name in manifest.opposite_instruction
    assert "\n" not in manifest.opposite_instruction
    assert folder.read_opposite_activations() is None
    assert not (folder.path / "activations/opposite_instruction.pt").exists()
    # What was generated is still what is read.
    assert manifest.n_from_ids == manifest.n_examples
    assert {total for stage, _, total in seen if stage == "activations"} == {16}


def test_a_missing_instruction_pair_is_a_reason(folder: TraitFolder, model: LanguageModel) -> None:
    captured(folder, model)
    assert folder.read_opposite_activations() is not None
    define(folder, PAIRS[:1])
    make("activations", folder, SETTINGS, bench(model))
    assert "instruction pair 1" in folder.manifest(ActivationsManifest).opposite_instruction
    assert folder.read_opposite_activations() is None
