"""Persona-vectors folders: what is read, what is refused, and that the pipeline goes on from it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tests.exchange.conftest import SHARED, Command
from tests.exchange.persona_source import (
    IMPORT,
    INTO,
    imported,
    read_table,
    row_of,
    shortened,
    the_table,
    write_table,
)
from tests.projects import SmallProject
from traitvec_core.errors import TraitvecError
from traitvec_core.exchange import read_imported_vectors
from traitvec_core.exchange.persona_definition import read_definition
from traitvec_core.exchange.persona_folder import find_persona_files
from traitvec_core.exchange.persona_table import read_judged
from traitvec_core.stage_names import Stage
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make, stage_states
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.manifests import ActivationsManifest

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return shortened(tmp_path / "persona_vectors_repo")


# -- all the way ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_pipeline_goes_on_from_judged_responses(
    command: Command, source: Path, tmp_path: Path, one_picture: None
) -> None:
    root = tmp_path / "experiments"
    done = command(*IMPORT, source, *INTO, root=root)
    assert done.code == 0
    row = row_of(done.out, "sycophantic")
    assert row[:6] == ["sycophantic", "pos, neg", "80", "0", "0", "0"]
    assert "6 × 192 fits" in row
    assert row_of(done.out, "humorous") == ["humorous", "none"]
    assert "--traits sycophantic --select activations+" in done.out
    experiment = ExperimentFolder(root, "theirs")
    settings = experiment.settings(
        {"methods": ["mean_diff"], "min_coherence": 0, "steering.evaluate": False}
    )
    folder = imported(root)
    states = stage_states(folder, settings)
    assert states["responses"] == states["judged_responses"] == "fresh"
    assert states["activations"] == "missing"
    later: tuple[Stage, ...] = (
        "activations", "vectors", "steering_evaluation", "validation_report", "trait_dynamics",
    )  # fmt: skip
    for stage in later:
        assert not make(stage, folder, settings, Workbench()).is_reused
    assert set(stage_states(folder, settings).values()) == {"fresh"}
    assert folder.read_vector("mean_diff", 3).shape == (192,)
    report = folder.metadata("validation_report")
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert verdicts["contrast"] == "pass"
    page = (folder.path / "validation/report.html").read_text()
    assert "sycophantic" in page.lower()
    # The tables hold text alone, and prompts of another chat template.
    assert "tokenised again" in done.out
    captured = folder.manifest(ActivationsManifest)
    assert (captured.n_from_ids, captured.n_tokenised_again) == (0, captured.n_examples)
    assert f"The texts of {captured.n_examples} of the {captured.n_examples} kept" in page
    # The instruction is exchanged inside these prompts.
    assert captured.opposite_instruction == ""
    opposite = folder.read_opposite_activations()
    assert opposite is not None
    assert not torch.equal(opposite, folder.read_activations())


def test_what_was_imported_is_said_and_kept_until_settings_change(
    command: Command, source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "experiments"
    command(*IMPORT, source, *INTO, root=root)
    folder = imported(root)
    settings = ExperimentFolder(root, "theirs").settings()
    stages: tuple[Stage, ...] = ("responses", "judged_responses")
    for stage in stages:
        provenance = folder.provenance(stage)
        assert provenance is not None
        assert provenance.settings == {"imported_from": "persona-vectors"}
        assert provenance.inputs.keys() == {
            "sycophantic_pos_instruct.csv", "sycophantic_neg_instruct.csv"
        }  # fmt: skip
        assert provenance.cost.usd == 0
        # Nothing is generated or judged, so no model is needed.
        assert make(stage, folder, settings, Workbench(load_model=None)).is_reused
    other = settings.model_copy(update={"n_examples": 7})
    assert stage_states(folder, other)["responses"] == "stale"
    rejudged = settings.model_copy(update={"judge_model": "gpt-5-mini"})
    assert stage_states(folder, rejudged)["responses"] == "fresh"
    assert stage_states(folder, rejudged)["judged_responses"] == "stale"


def test_rows_arrive_as_they_were(command: Command, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "experiments"
    command(*IMPORT, source, *INTO, root=root)
    frame = imported(root).read_responses()
    theirs = read_table(the_table(source)) + read_table(the_table(source, "neg"))
    assert frame["response"].tolist() == [row["answer"] for row in theirs]
    assert frame["prompt"].tolist() == [row["prompt"] for row in theirs]
    assert frame["trait_score"].tolist() == [float(row["sycophantic"]) for row in theirs]
    assert frame["coherence_score"].tolist() == [float(row["coherence"]) for row in theirs]
    assert frame["question_id"].is_unique
    assert frame["question_id"][0] == "sycophantic_0_pos_0_0"
    assert all(row["instruction"] in row["prompt"] for row in frame.to_dict("records"))
    # The embedded model's tokenizer is on every machine.
    assert (frame["response_tokens"] > 20).all()
    raw = imported(root).read_responses("responses")
    assert "trait_score" not in raw.columns
    assert raw["response"].tolist() == frame["response"].tolist()


def test_all_thousand_rows_give_the_published_figures() -> None:
    files = find_persona_files(SHARED).traits["sycophantic"]
    _, definition, left_out = read_definition("sycophantic", files)
    assert not left_out
    frames = {
        pole: read_judged(files.tables[pole], "sycophantic", pole, definition).rows
        for pole in ("pos", "neg")
    }
    assert {pole: len(frame) for pole, frame in frames.items()} == {"pos": 1000, "neg": 1000}
    contrast = frames["pos"]["trait_score"].mean() - frames["neg"]["trait_score"].mean()
    assert round(contrast, 2) == 67.72
    whole = pd.concat(frames.values())
    assert whole["question_id"].is_unique
    assert whole["question_id"].str.rsplit("_", n=1).str[1].astype(int).max() == 9


def test_the_definition_gets_the_other_questions(
    command: Command, source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "experiments"
    command(*IMPORT, source, *INTO, "--trait", "honest", root=root)
    definition = imported(root, "honest").definition()
    theirs = json.loads((SHARED / "traits/honest.json").read_text())
    assert definition.questions == theirs["questions"]
    assert definition.eval_prompt == theirs["eval_prompt"]
    evaluation = json.loads((SHARED / "eval_traits/honest.json").read_text())
    assert definition.eval_questions == evaluation["questions"]
    assert ExperimentFolder(root, "theirs").traits() == ["honest"]
    written = yaml.safe_load((root / "theirs/experiment.yaml").read_text())
    assert written["model"] == written["judge_model"] == "embedded"


@pytest.mark.services
def test_a_whole_run_through_dagster_recreates_nothing(
    command: Command, source: Path, tmp_path: Path, new_instance: Path, one_picture: None
) -> None:
    shutil.copytree(new_instance, tmp_path / ".dagster")
    command(*IMPORT, source, *INTO, "--trait", "sycophantic", root=tmp_path / "experiments")
    before = imported(tmp_path / "experiments").read_responses()
    with SmallProject(tmp_path) as project:
        done = project.run("sycophantic", experiment="theirs", methods=["mean_diff"], layers=[3])
        assert not done.problems
        assert set(done.reused) >= {"responses", "judged_responses"}
    pd.testing.assert_frame_equal(before, imported(tmp_path / "experiments").read_responses())


# -- vectors ----------------------------------------------------------------------------------


def test_the_last_row_is_marked_and_not_handed_out(
    command: Command, source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "experiments"
    command(*IMPORT, source, *INTO, root=root)
    folder = imported(root)
    (path,) = source.rglob("sycophantic_response_avg_diff.pt")
    theirs = torch.load(path, weights_only=True)
    kept = torch.load(folder.path / "imported_vectors/response_avg_diff.pt", weights_only=True)
    assert torch.equal(kept, theirs)
    found = read_imported_vectors(folder)
    assert set(found.vectors) == set(range(5))
    assert torch.equal(found.vectors[3], theirs[3])
    assert found.marked.keys() == {5}
    assert "final norm" in found.marked[5]
    record = json.loads((folder.path / "imported_vectors/metadata.json").read_text())
    assert record["prompt_last"]["n_layers"] == 6
    assert record["prompt_last"]["source"]["file"] == "sycophantic_prompt_last_diff.pt"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Evil(), "weights_only"),
        ({"a": torch.zeros(3)}, "not a bare tensor"),
        (torch.zeros(64), "expected a float tensor"),
        (torch.zeros(6, 192, dtype=torch.int64), "expected a float tensor"),
        (torch.full((6, 192), float("nan")), "contains NaN"),
        (torch.zeros(6, 192), "all vectors are zero"),
        (torch.ones(29, 192), "shape 29 × 192, but the experiment's model has 6 × 192"),
        (torch.ones(6, 64), "another model's vectors"),
    ],
)
def test_a_tensor_that_cannot_be_used_is_left_out_alone(
    command: Command, source: Path, tmp_path: Path, value: object, said: str
) -> None:
    (path,) = source.rglob("sycophantic_response_avg_diff.pt")
    torch.save(value, path)
    done = command(*IMPORT, source, *INTO, root=tmp_path / "experiments")
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("left out:")]
    assert said in line
    assert "sycophantic_response_avg_diff.pt" in line
    folder = imported(tmp_path / "experiments")
    assert len(folder.read_responses()) == 80
    assert len(read_imported_vectors(folder, "prompt_avg").vectors) == 5
    with pytest.raises(TraitvecError, match="is missing"):
        read_imported_vectors(folder, "response_avg")


# -- what can go wrong ------------------------------------------------------------------------


def test_a_score_that_is_none_is_missing_with_its_reason(
    command: Command, source: Path, tmp_path: Path
) -> None:
    path = the_table(source)
    rows = read_table(path)
    for row, score in zip(rows, ("", "REFUSAL", "nan", "101", "-1"), strict=False):
        row["sycophantic"] = score
    for row in rows[:7]:
        row["coherence"] = ""
    write_table(path, rows)
    done = command(*IMPORT, source, *INTO, root=tmp_path / "experiments")
    assert row_of(done.out, "sycophantic")[2:5] == ["80", "5", "7"]
    frame = imported(tmp_path / "experiments").read_responses()
    assert frame["trait_score"].isna().sum() == 5
    assert frame["coherence_score"].isna().sum() == 7
    assert frame["judge_status"][:5].tolist() == ["unparseable"] * 5
    assert frame["judge_reason"][1] == "imported without a score (REFUSAL)"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("question_id", "sycophantic_0_neg_0", "row 2: question_id"),
        ("question_id", "sycophantic_0_pos_9", "has no instruction 9"),
        ("question_id", "sycophantic_99_pos_0", "question 99 differs"),
        ("question", "Is this the question?", "question 0 differs"),
    ],
)
def test_rows_that_belong_to_another_definition(
    command: Command, source: Path, tmp_path: Path, column: str, value: str, said: str
) -> None:
    rows = read_table(the_table(source))
    rows[0][column] = value
    write_table(the_table(source), rows)
    done = command(*IMPORT, source, *INTO, root=tmp_path / "experiments")
    assert done.code == 1
    assert said in done.out
    assert "the other pole's table cannot be used" in done.out
    # What is good is taken: the definitions, and the vectors.
    folder = imported(tmp_path / "experiments")
    assert folder.provenance("responses") is None
    assert read_imported_vectors(folder).vectors
    assert "next: " not in done.out


def test_files_that_are_not_what_they_should_be(
    command: Command, source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "experiments"

    def left_out(*more: object) -> str:
        done = command(*IMPORT, source, *INTO, "--plan", *more, root=root)
        assert done.error is None
        assert not root.exists()
        return "\n".join(line for line in done.out.splitlines() if line.startswith("left out:"))

    rows = read_table(the_table(source))
    write_table(the_table(source), [{"question": row["question"]} for row in rows])
    assert "has no column 'answer'" in left_out()
    the_table(source).write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in left_out()
    the_table(source).unlink()
    assert "the other pole's table is missing" in left_out()
    (path,) = source.rglob("trait_data_extract/honest.json")
    path.write_text("{}")
    assert "honest.json" in left_out("--trait", "honest")
    assert "sycophantic" not in left_out("--trait", "honest")
    unknown = command(*IMPORT, source, *INTO, "--trait", "evil", root=root)
    assert unknown.error is not None
    assert "there is no definition of 'evil'; available: " in unknown.error
    near = command(*IMPORT, source, *INTO, "--trait", "humourous", root=root)
    assert near.error is not None
    assert "there is humorous" in near.error
    path.rename(path.with_name("..honest.json"))
    assert "trait name '..honest' cannot be used" in left_out()
    assert not root.exists()


def test_folders_of_several_models(command: Command, source: Path, tmp_path: Path) -> None:
    first = the_table(source).parent
    shutil.copytree(first, first.with_name("Llama-3.1-8B-Instruct"))
    root = tmp_path / "experiments"
    both = command(*IMPORT, source, *INTO, root=root)
    assert both.error is not None
    assert "--from-model" in both.error
    one = command(*IMPORT, source, *INTO, "--from-model", "Llama-3.1-8B-Instruct", root=root)
    assert one.error is None
    # Its vectors folder has no such model.
    assert "response_avg" not in one.out


def test_an_experiment_is_not_overwritten(command: Command, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "experiments"
    unnamed = command(*IMPORT, source, "--experiment", "theirs", root=root)
    assert unnamed.error is not None
    assert "give the model that wrote the responses" in unnamed.error
    command(*IMPORT, source, *INTO, "--trait", "honest", root=root)
    again = command(
        *IMPORT, source, "--experiment", "theirs", "--trait", "honest,humorous", root=root
    )
    assert again.code == 1
    assert "theirs/honest: already exists" in again.out
    assert ExperimentFolder(root, "theirs").traits() == ["honest", "humorous"]
    model = command(*IMPORT, source, *INTO, "--trait", "sycophantic", root=root)
    assert model.error is not None
    assert "has a model already" in model.error
    more = command(*IMPORT, source, "--experiment", "theirs", "--trait", "sycophantic", root=root)
    assert more.error is None
    assert ExperimentFolder(root, "theirs").traits() == ["honest", "humorous", "sycophantic"]
    nowhere = command(*IMPORT, tmp_path / "nowhere", "--experiment", "theirs", root=root)
    assert nowhere.error is not None
    assert "is not a folder" in nowhere.error
