"""A vector that is handed out says that it is stale and why, as `traitvec status` does."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject
from traitvec_core import TraitvecWarning, load_vector
from traitvec_core.embedded import embedded_model_path
from traitvec_core.stage_names import METADATA_FILE, STAGES
from traitvec_core.stages.make import make
from traitvec_core.stages.staleness import staleness_of_vector

Edit = Callable[[SmallProject], object]


def edit_definition(project: SmallProject, key: str, change: Callable[[str], str]) -> None:
    path = project.trait("refusal").definition_path
    definition = json.loads(path.read_text())
    value = definition[key]
    definition[key] = change(value) if isinstance(value, str) else [change(value[0]), *value[1:]]
    path.write_text(json.dumps(definition))


def edit_responses(project: SmallProject) -> None:
    path = project.trait("refusal").path / "responses/pos.csv"
    path.write_text(path.read_text().replace("the", "The", 1))


EDITS: dict[str, tuple[Edit, str]] = {
    "rubric": (
        lambda project: edit_definition(project, "eval_prompt", lambda text: f"{text} Be strict."),
        "the vector is stale: the definition's eval_prompt changed after judged_responses was made",
    ),
    "question": (
        lambda project: edit_definition(project, "questions", lambda text: f"{text} Why?"),
        "the vector is stale: the definition's pairs or questions changed after responses was made",
    ),
    "setting": (
        lambda project: project.set(threshold=55, min_coherence=1),
        "the vector is stale: threshold, min_coherence changed after activations was made",
    ),
    "responses": (edit_responses, "the vector is stale: responses/pos.csv was edited"),
    "missing stage": (
        lambda project: (
            project.trait("refusal").path / METADATA_FILE["judged_responses"]
        ).unlink(),
        "the vector is stale: judged_responses is missing",
    ),
    "definition": (
        lambda project: project.trait("refusal").definition_path.write_text("{"),
        "the vector is stale: the definition is broken",
    ),
    "limits": (
        lambda project: project.set(severities={"norm": "warn"}),
        "the verdict is stale: severities changed after validation_report was made",
    ),
    "unreadable settings": (
        lambda project: project.set(no_such_setting=1),
        "it is unknown whether the vector is stale: `traitvec check` says why",
    ),
}


@pytest.fixture
def project(finished: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    monkeypatch.chdir(finished.folder)
    return finished


def stale_lines(stream: str) -> list[str]:
    return [line for line in stream.splitlines() if "stale:" in line]


def load(project: SmallProject) -> tuple[str | None, list[str]]:
    """The recommended vector's staleness, and the warnings that a notebook shows about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TraitvecWarning)
        chosen = load_vector(project.project.experiments, "demo", "refusal")
    assert chosen.stale is None or chosen.stale in repr(chosen)
    lines = [str(each.message) for each in caught if "stale:" in str(each.message)]
    return chosen.stale, lines


@pytest.mark.parametrize("edit", EDITS)
def test_a_notebook_learns_why(project: SmallProject, edit: str) -> None:
    assert load(project) == (None, [])
    change, why = EDITS[edit]
    change(project)
    stale, [line] = load(project)
    assert stale == why
    assert line.startswith("refusal (")
    assert line.endswith(why)
    assert len(line) < 200


@pytest.mark.parametrize("edit", EDITS)
def test_exported_files_record_it(traitvec: Command, project: SmallProject, edit: str) -> None:
    from safetensors import safe_open

    change, why = EDITS[edit]
    out = project.folder / "vectors.safetensors"
    export = (
        "export", "--experiment", "demo", "--trait", "refusal", "--format", "safetensors",
        "--out", str(out), "--experiments-dir", str(project.project.experiments),
    )  # fmt: skip

    def exported() -> str | None:
        with safe_open(out, "pt") as file:
            stale: str | None = json.loads(file.metadata()["traitvec"])["traits"]["refusal"][
                "stale"
            ]
        return stale

    done = traitvec(*export)
    assert (done.code, stale_lines(done.err), exported()) == (0, [], None)
    assert "Stale" not in out.with_suffix(".md").read_text()
    change(project)
    done = traitvec(*export)
    assert done.code == 0, done.err
    assert [line.split(": ", 2)[2] for line in stale_lines(done.err)] == [why]
    assert exported() == why
    card = out.with_suffix(".md").read_text().replace("\\", "")
    assert f"**Stale:** when it was exported, {why}." in card


def test_status_and_other_commands_say_the_same(traitvec: Command, project: SmallProject) -> None:
    where = ("--experiments-dir", str(project.project.experiments), "--experiment", "demo")
    change, why = EDITS["rubric"]
    assert stale_lines(traitvec("status", *where).err) == []
    change(project)
    done = traitvec("status", *where)
    [line] = stale_lines(done.err)
    assert "demo/refusal" in line
    assert line.endswith(why)
    row = json.loads(traitvec("status", *where, "--json").out)["demo"]["refusal"]
    assert (row["stale"], row["stages"]["vectors"]) == (why, "stale")
    [line] = stale_lines(traitvec("push", *where, "--repo-id", "me/x", "--trait", "refusal").err)
    assert line.endswith(why)
    done = traitvec(
        "monitor", *where, "--trait", "refusal", "--prompt", "Hi?", "--set",
        "sampling.max_new_tokens=3", "--out", "monitor.html",
    )  # fmt: skip
    assert done.code == 0, done.err
    [line] = stale_lines(done.err)
    assert line.endswith(why)
    assert json.loads(Path("monitor.json").read_text())["verdicts"]["refusal"]["stale"] == why
    assert why in Path("monitor.html").read_text().replace("&#39;", "'")


def test_a_model_that_is_elsewhere_leaves_it_unknown(finished: SmallProject) -> None:
    """On a laptop without the weights: nobody knows whether they changed."""
    folder = finished.trait("refusal")
    weights = finished.folder / "weights"
    shutil.copytree(embedded_model_path(), weights)
    settings = finished.settings().model_copy(update={"model": str(weights)})
    assert staleness_of_vector(folder, is_judged=True, settings=settings) == (
        "the vector is stale: the model changed after responses was made"
    )
    for stage in STAGES[1:7]:
        make(stage, folder, settings)
    assert staleness_of_vector(folder, is_judged=True, settings=settings) is None
    weights.rename(finished.folder / "elsewhere")
    unknown = "it is unknown whether the vector is stale: the model is not on this machine"
    assert staleness_of_vector(folder, is_judged=True, settings=settings) == unknown
    # What is sure is said all the same.
    other = settings.model_copy(update={"threshold": 55.0})
    assert staleness_of_vector(folder, is_judged=True, settings=other) == (
        "the vector is stale: threshold changed after activations was made"
    )
    other = settings.model_copy(update={"model": "/nowhere/at/all"})
    assert staleness_of_vector(folder, is_judged=True, settings=other) == (
        "the vector is stale: the model changed after responses was made"
    )


def test_a_scorer_that_is_elsewhere_leaves_it_unknown(finished: SmallProject) -> None:
    folder = finished.trait("refusal")
    table = folder.read_responses("responses")
    positives = set(table["response"][table["question_id"].str.contains("_pos_")])
    scorer = finished.folder / "experiments/demo/scorers.py"
    scorer.write_text(
        f"def words(question, response):\n    return 100 * (response in {positives})\n"
    )
    settings = finished.settings().model_copy(
        update={"scorers": {"refusal": "python:scorers.py:words"}}
    )
    for stage in STAGES[2:5]:
        make(stage, folder, settings)
    assert staleness_of_vector(folder, is_judged=False, settings=settings) is None
    scorer.unlink()
    assert staleness_of_vector(folder, is_judged=True, settings=settings) == (
        "it is unknown whether the vector is stale: the judge is not on this machine"
    )


def test_what_another_experiment_has_is_one_thing(finished: SmallProject) -> None:
    """Not "second responses, second judged_responses, second activations and 3 more"."""
    shutil.copytree(finished.folder / "experiments/demo", finished.folder / "experiments/other")
    finished.set(second_elicitation="other")
    make("validation_report", finished.trait("refusal"), finished.settings())
    assert staleness_of_vector(finished.trait("refusal"), is_judged=True) is None
    shutil.rmtree(finished.folder / "experiments/other")
    assert staleness_of_vector(finished.trait("refusal"), is_judged=True) == (
        "the verdict is stale: what other has of the trait changed after validation_report was made"
    )
