"""A vector that is handed out says that it is stale and why, as `traitvec status` does."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject
from traitvec_core import TraitvecWarning, load_vector
from traitvec_core.stage_names import METADATA_FILE

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
