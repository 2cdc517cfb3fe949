"""`elicitation: scenarios` through real runs: the embedded model goes on with openings."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.projects import SmallProject, demo_definition, write_experiment
from traitvec_core.atlas.cross_projection import read_with
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import load_language_model
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, ResponsesManifest
from traitvec_core.validation.checks.table import evaluate_check

# A sentence that has begun to refuse, or to explain. The last is a text by itself.
OPENINGS = [
    ("I am sorry, but I", "The first thing to know is"),
    ("No, I cannot", "Yes, the idea of it"),
    ("I must", "First of all,"),
    ("Unfortunately, I", "People value it because"),
    ('Asked "{question}", I said: I am unable to', 'Asked "{question}", I said: It helps to'),
]
SETTINGS: dict[str, Any] = {
    "elicitation": "scenarios",
    "n_examples": 20,
    "methods": ["mean_diff"],
    "layers": [3, 4],
    "steering": {"n_search": 4, "n_held_out": 8, "n_random": 2, "side_effects": []},
    "monitoring_prompts": ["How do I learn to swim?"],
}

# A project sets the environment of its process.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_module_environment")]


def told_definition() -> dict[str, Any]:
    """The demo's refusal with openings, and without instructions."""
    definition = demo_definition("refusal")
    del definition["instruction"]
    definition["scenarios"] = [{"pos": pos, "neg": neg} for pos, neg in OPENINGS]
    return definition


@pytest.fixture(scope="module")
def opened_folder(tmp_path_factory: pytest.TempPathFactory, own_module_environment: None) -> Path:
    folder = tmp_path_factory.mktemp("opened")
    write_experiment(folder, "demo", ["refusal"], SETTINGS)
    with SmallProject(folder) as project:
        project.define("refusal", told_definition())
        run = project.run("refusal")
        assert run.is_success, run.problems
    return folder


@pytest.fixture
def opened(opened_folder: Path) -> Iterator[SmallProject]:
    with SmallProject(opened_folder) as project:
        yield project


@pytest.fixture
def trait(opened: SmallProject) -> TraitFolder:
    return opened.trait("refusal")


def test_the_model_sees_the_opening_and_writes_the_rest(trait: TraitFolder) -> None:
    model = load_language_model("embedded")
    table, ids = trait.read_responses(), trait.read_token_ids()
    openings = {text for pair in OPENINGS for text in pair}
    assert set(table["instruction"]) == openings
    for row in table.to_dict("records"):
        assert row["prompt"] == model.opened_prompt(row["question"], row["instruction"])
        assert row["prompt"].count("<|end|>") == (0 if "{question}" in row["instruction"] else 1)
        assert row["question_id"].startswith("refusal_")
        generated = list(ids[row["question_id"]].ids)
        assert model.tokenizer.decode(generated, skip_special_tokens=True) == row["response"]
    # It refuses after openings that refuse, and the judge sees it in the completions alone.
    means = table.groupby("pole")["trait_score"].mean()
    assert means["pos"] - means["neg"] > 30


def test_every_example_was_read_after_the_opposite_opening(trait: TraitFolder) -> None:
    manifest = trait.manifest(ActivationsManifest)
    assert manifest.opposite_instruction == ""
    assert manifest.n_from_ids == manifest.n_examples
    opposite = trait.read_opposite_activations()
    assert opposite is not None
    assert opposite.shape == trait.read_activations().shape
    assert (opposite.float() - trait.read_activations().float()).abs().max() > 0.01


def test_another_model_reads_them_after_the_same_openings(
    trait: TraitFolder, opened: SmallProject
) -> None:
    model = load_language_model("embedded")
    table = trait.read_responses().set_index("question_id")
    rows = table.loc[trait.manifest(ActivationsManifest).question_ids]
    # As `traitvec compare --read` does, whose other experiment may use instructions.
    settings = opened.settings(elicitation="instructions")
    read = read_with(lambda name, options: model)(trait, settings)
    texts = list(zip(rows["prompt"], rows["response"], strict=True))
    torch.testing.assert_close(read, capture_means(model, texts), rtol=1e-3, atol=1e-3)


def test_what_was_elicited_is_recorded(trait: TraitFolder, opened: SmallProject) -> None:
    manifest = trait.manifest(ResponsesManifest)
    assert (manifest.elicitation, manifest.instruction_role) == ("scenarios", "assistant")
    made = trait.provenance("responses")
    assert made is not None
    assert made.settings["elicitation"] == "scenarios"
    (shown,) = opened.materializations("responses", "refusal")
    assert shown.metadata["elicitation"].value == "scenarios"
    (defined,) = opened.materializations("definition", "refusal")
    assert defined.metadata["scenario_pairs"].value == len(OPENINGS)


def test_steering_is_compared_with_the_positive_openings(trait: TraitFolder) -> None:
    table = pd.read_csv(trait.path / "steering/responses.csv", keep_default_na=False)
    prompted = table[table["question_id"].str.startswith("prompted|")]
    assert len(prompted) == 8
    assert set(prompted["instruction"]) <= {pos for pos, _ in OPENINGS}
    model = load_language_model("embedded")
    for row in prompted.to_dict("records"):
        assert row["prompt"] == model.opened_prompt(row["question"], row["instruction"])
    unsteered = table[table["question_id"].str.startswith("unsteered|")]
    assert set(unsteered["instruction"]) == {""}


def test_pages_and_checks_speak_of_openings(trait: TraitFolder, opened: SmallProject) -> None:
    page = (trait.path / "validation/report.html").read_text()
    report = json.loads((trait.path / "validation/report.json").read_text())
    assert "scenario pair" in page
    assert "opening’s share of the separation" in page
    checks = [f"{check['summary']} {check['advice']}" for check in report["checks"]]
    labels = [f"{figure['label']} {figure['missing']}" for figure in report["figures"]]
    for text in (page, *checks, *labels, report["answer"]["text"], report["recommended"]["why"]):
        # The names of files and figures stay.
        assert "instruction" not in text.lower().replace("instruction_share", "")
    settings = opened.settings()
    assert "5 scenario pairs" in evaluate_check("definition", trait, settings).summary
    assert "no opening" in (trait.path / "dynamics/dynamics.html").read_text()


def test_nothing_is_made_again_and_a_change_of_openings_is(
    opened_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(opened_folder, folder)
    with SmallProject(folder) as project:
        assert set(project.run("refusal").reused) == set(STAGES[1:])
        definition = told_definition()
        # Instructions are not what elicits here.
        definition["instruction"] = [{"pos": "Refuse.", "neg": "Help."}]
        project.define("refusal", definition)
        assert "responses" in project.run("refusal").reused
        definition["scenarios"][0]["pos"] = "I am sorry, I"
        project.define("refusal", definition)
        assert "responses" in project.run("refusal", select="responses").made


def test_a_definition_without_what_the_setting_needs_stops_in_one_line(empty: SmallProject) -> None:
    for setting, definition, key in (
        ("scenarios", demo_definition("refusal"), "'scenarios'"),
        ("instructions", told_definition(), "'instruction'"),
    ):
        empty.define("refusal", definition)
        run = empty.run("refusal", elicitation=setting)
        assert not run.is_success
        assert "definition" in run.verdicts
        assert run.verdicts["definition"] == "fail"
        assert not (empty.trait("refusal").path / "responses").exists()
        check = evaluate_check(
            "definition", empty.trait("refusal"), empty.settings(elicitation=setting)
        )
        assert f"has no {key}, which elicitation: {setting} needs" in check.summary
        assert "\n" not in check.summary
