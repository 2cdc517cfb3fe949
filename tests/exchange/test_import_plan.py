"""Planning an import: what is left out and why, near misses, thinking, our own exports."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.exchange.conftest import SHARED, Command
from tests.exchange.persona_source import (
    IMPORT,
    INTO,
    imported,
    read_table,
    shortened,
    the_table,
    write_table,
)
from traitvec_core.errors import TraitvecError
from traitvec_core.exchange import export_vectors, read_imported_vectors
from traitvec_core.exchange.import_plan import ImportPlan, plan_import
from traitvec_core.exchange.importing import import_persona_vectors
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import ExperimentFolder

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")

SETTINGS = ExperimentSettings.model_validate({"model": "embedded", "judge_model": "embedded"})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return shortened(tmp_path / "persona_vectors_repo")


def plan(source: Path, tmp_path: Path) -> ImportPlan:
    return plan_import(source, ExperimentFolder(tmp_path / "experiments", "theirs"), SETTINGS)


def reasons(plan: ImportPlan) -> str:
    return "\n".join(map(str, plan.left_out))


def named(plan: ImportPlan, name: str) -> bool:
    return any(trait.name == name for trait in plan.traits)


# -- the plan ---------------------------------------------------------------------------------


def test_instructed_responses_do_not_enter_an_experiment_of_scenarios(
    source: Path, tmp_path: Path
) -> None:
    experiment = ExperimentFolder(tmp_path / "experiments", "told")
    told = SETTINGS.model_copy(update={"elicitation": "scenarios"})
    with pytest.raises(TraitvecError, match="import them into another experiment") as error:
        plan_import(source, experiment, told)
    assert "elicitation: scenarios" in str(error.value)
    assert len(str(error.value)) < 250


def test_a_plan_writes_nothing_and_shows_what_is_not_used(
    command: Command, source: Path, tmp_path: Path
) -> None:
    (source / "notes.csv").write_text("a,b\n")
    (source / "config.json").write_text("{}")
    root = tmp_path / "experiments"
    done = command(*IMPORT, source, *INTO, "--plan", root=root)
    assert done.code == 0
    assert not root.exists()
    header = next(line for line in done.out.splitlines() if "trait" in line and "rows" in line)
    for column in ("tables", "no score", "no coherence", "thinking", "vectors", "shape"):
        assert column in header
    assert "response_avg: 5 layers, not 5" in done.out
    unused = [line for line in done.out.splitlines() if line.startswith("not used:")]
    assert any("notes.csv" in line for line in unused)
    assert any("config.json" in line for line in unused)
    assert "nothing was written" in done.out


def test_nothing_that_can_be_used_writes_no_experiment(
    command: Command, source: Path, tmp_path: Path
) -> None:
    for path in source.rglob("trait_data_extract/*.json"):
        path.write_text("[]")
    done = command(*IMPORT, source, *INTO, root=tmp_path / "experiments")
    assert done.code == 1
    assert done.out.count("left out:") == 4
    assert not (tmp_path / "experiments").exists()


def test_the_shape_is_not_checked_without_the_models_config(
    command: Command, source: Path, tmp_path: Path
) -> None:
    done = command(
        *IMPORT, source, "--experiment", "theirs", "--model", "nobody/not-here", "--plan",
        root=tmp_path / "experiments",
    )  # fmt: skip
    assert "6 × 192 unchecked" in done.out
    assert "shapes were not checked" in done.out


# -- near misses ------------------------------------------------------------------------------


def test_a_misspelt_model_names_the_one_that_is_there(
    command: Command, source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "experiments"
    for wrong in ("qwen2.5-7b-instruct", "Qwen2.5-7B-Instuct", "Qwen_Qwen2.5-7B-Instruct"):
        done = command(*IMPORT, source, *INTO, "--from-model", wrong, root=root)
        assert done.error is not None
        assert f"no folder {wrong} " in done.error
        assert "there is Qwen2.5-7B-Instruct" in done.error
        assert not root.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qwen_sycophantic_pos_instruct.csv", "rename the file to sycophantic_pos_instruct.csv"),
        ("sycophantc_pos_instruct.csv", "rename the file to sycophantic_pos_instruct.csv"),
        ("sycophantic_positive.csv", "Rename it to sycophantic_pos.csv"),
        ("pos-sycophantic.csv", "Rename it to sycophantic_pos.csv"),
        ("unknown_pos.csv", "no definition of 'unknown'"),
    ],
)
def test_a_table_of_another_name_is_named(
    source: Path, tmp_path: Path, name: str, said: str
) -> None:
    the_table(source).rename(the_table(source).with_name(name))
    planned = plan(source, tmp_path)
    assert any(name in item.what and said in item.why for item in planned.left_out)
    assert "sycophantic_neg_instruct.csv: the other pole's table is missing" in reasons(planned)


def test_a_folder_of_definitions_with_another_name(
    command: Command, source: Path, tmp_path: Path
) -> None:
    (folder,) = source.rglob("trait_data_extract")
    folder.rename(folder.with_name("trait_data_extracted"))
    done = command(*IMPORT, source, *INTO, root=tmp_path / "experiments")
    assert done.error is not None
    assert "there is a folder trait_data_extracted" in done.error


def test_capitals_become_lower_case_with_a_note(
    command: Command, source: Path, tmp_path: Path
) -> None:
    for path in [*source.rglob("sycophantic*")]:
        path.rename(path.with_name(path.name.replace("sycophantic", "Sycophantic")))
    for path in source.rglob("Sycophantic_*.csv"):
        rows = read_table(path)
        for row in rows:
            row["Sycophantic"] = row.pop("sycophantic")
            row["question_id"] = row["question_id"].replace("sycophantic", "Sycophantic")
        write_table(path, rows)
    root = tmp_path / "experiments"
    done = command(*IMPORT, source, *INTO, root=root)
    assert done.code == 0
    assert "Sycophantic.json becomes the trait sycophantic" in done.out
    folder = imported(root)
    assert folder.read_responses()["question_id"][0] == "sycophantic_0_pos_0_0"
    assert folder.read_responses()["trait_score"].notna().all()
    assert read_imported_vectors(folder).vectors
    assert folder.definition().eval_questions


def test_two_files_with_one_role(source: Path, tmp_path: Path) -> None:
    (path,) = source.rglob("trait_data_extract/honest.json")
    copy = source / "traits" / "Honest.json"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    assert named(plan(source, tmp_path), "honest")
    copy.write_text(path.read_text().replace("?", "??"))
    planned = plan(source, tmp_path)
    assert not named(planned, "honest")
    assert named(planned, "humorous")
    assert "have the same role and differ" in reasons(planned)


def test_names_of_foreign_files_do_not_reach_the_terminal_raw(
    command: Command, source: Path, tmp_path: Path
) -> None:
    for name in ("\x1b[31msycophantic_pos.csv", "sycophantic\u202e_pos\n.csv", "\x1b]0;x\x07.csv"):
        (source / name).write_text("a\n")
    done = command(*IMPORT, source, *INTO, "--plan", root=tmp_path / "experiments")
    assert r"\x1b[31msycophantic_pos.csv" in done.out
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out)


# -- evaluation questions ---------------------------------------------------------------------


def test_evaluation_questions_that_cannot_be_used_are_named(source: Path, tmp_path: Path) -> None:
    (definition,) = source.rglob("trait_data_extract/honest.json")
    (path,) = source.rglob("trait_data_eval/honest.json")
    raw = json.loads(path.read_text())
    asked = json.loads(definition.read_text())["questions"]
    good = raw["questions"][:5]
    raw["questions"] = [*good, {"id": 1, "question": "Why?"}, *asked[:3]]
    path.write_text(json.dumps(raw))
    planned = plan(source, tmp_path)
    assert "1 of 9 evaluation questions are no text (the first is an object)" in reasons(planned)
    assert "3 of 9 evaluation questions are asked by the definition too" in reasons(planned)
    (honest,) = [trait for trait in planned.traits if trait.name == "honest"]
    assert honest.definition.eval_questions == good
    path.write_text(json.dumps({"questions": asked}))
    (honest,) = [trait for trait in plan(source, tmp_path).traits if trait.name == "honest"]
    assert honest.definition.eval_questions == []
    for broken in ("{", '{"questions": "Why?"}', "[]"):
        path.write_text(broken)
        planned = plan(source, tmp_path)
        assert named(planned, "honest")
        assert len(planned.left_out) == 1


# -- thinking ---------------------------------------------------------------------------------


def test_thinking_is_split_off_and_unfinished_thoughts_are_left_out(
    command: Command, source: Path, tmp_path: Path
) -> None:
    answers = {}
    for pole in ("pos", "neg"):
        path = the_table(source, pole)
        rows = read_table(path)
        answers[pole] = [row["answer"] for row in rows]
        for row in rows:
            row["answer"] = f"<think>\nThe user asks.\n</think>\n\n{row['answer']}"
        write_table(path, rows)
    path = the_table(source)
    rows = read_table(path)
    rows[0]["answer"] = "<think>Let me see"
    rows[1]["answer"] = "Sure. <think>Hm.</think> Yes."
    # A template that opens the thinking itself.
    rows[2]["prompt"] += "<think>\n"
    rows[2]["answer"] = "Hm.</think>\nYes."
    write_table(path, rows)
    root = tmp_path / "experiments"
    done = command(*IMPORT, source, *INTO, root=root)
    assert done.code == 1
    assert "sycophantic_pos_instruct.csv, 1 row: no answer after the thinking" in done.out
    assert "1 row: marks of thinking inside the answer" in done.out
    assert "thinking was split off 78 answers" in done.out
    frame = imported(root).read_responses()
    assert frame["response"].tolist() == ["Yes.", *answers["pos"][3:], *answers["neg"]]
    assert frame["thinking"].tolist() == ["Hm.", *["The user asks."] * 77]
    # The others keep their numbers, so that pairs stay pairs.
    ids = {row["question_id"]: row["response"] for row in frame.to_dict("records")}
    untouched = import_of_clean_rows(tmp_path)
    for name, response in ids.items():
        if response != "Yes.":
            assert untouched[name] == response
    assert imported(root).metadata("responses")["counts"]["thinking"] == 78


def import_of_clean_rows(tmp_path: Path) -> dict[str, str]:
    experiment = ExperimentFolder(tmp_path / "clean", "theirs")
    import_persona_vectors(shortened(tmp_path / "again"), experiment, SETTINGS)
    frame = experiment.trait("sycophantic").read_responses()
    return dict(zip(frame["question_id"], frame["response"], strict=True))


# -- our own exports --------------------------------------------------------------------------


def own_export(demo: ExperimentFolder, folder: Path, **options: object) -> Path:
    """A folder with a definition and the vectors that traitvec exported."""
    definitions = folder / "traits"
    definitions.mkdir(parents=True)
    shutil.copy(demo.trait("refusal").definition_path, definitions / "refusal.json")
    path = folder / "vectors" / "refusal_response_avg_diff.pt"
    export_vectors(demo, ["refusal"], "persona-vectors", path, **options)  # type: ignore[arg-type]
    return path


def test_our_own_export_comes_back_as_it_was(demo: ExperimentFolder, tmp_path: Path) -> None:
    own_export(demo, tmp_path / "ours", method="mean_diff", layers=[2, 5])
    experiment = ExperimentFolder(tmp_path / "experiments", "theirs")
    import_persona_vectors(tmp_path / "ours", experiment, SETTINGS)
    found = read_imported_vectors(experiment.trait("refusal"))
    # Not extracted is absent, and our last row is that of the residual stream.
    assert found.vectors.keys() == {2, 5}
    assert found.marked == {}
    for layer, vector in found.vectors.items():
        assert torch.equal(vector, demo.trait("refusal").read_vector("mean_diff", layer))


def test_a_record_that_does_not_describe_the_tensor_does_not_count(
    demo: ExperimentFolder, tmp_path: Path
) -> None:
    import zipfile

    path = own_export(demo, tmp_path / "ours", method="mean_diff", layers=[2, 5])
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/traitvec.json")]
        record = archive.read(name)
    torch.manual_seed(0)
    torch.save(torch.randn(6, 192), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/traitvec.json", record)
    experiment = ExperimentFolder(tmp_path / "experiments", "theirs")
    import_persona_vectors(tmp_path / "ours", experiment, SETTINGS)
    found = read_imported_vectors(experiment.trait("refusal"))
    assert found.vectors.keys() == set(range(5))
    assert found.marked.keys() == {5}
    assert found.source_verdict is None
