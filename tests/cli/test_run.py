"""run and status: flags reach the stages, and what goes wrong is one line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import (
    FEW_VECTORS,
    SmallProject,
    demo_definition,
    snapshot,
    write_experiment,
)
from traitvec_dagster.cli import terminal

QUICK = ("--methods", "mean_diff", "--layers", "3")


@pytest.mark.slow
def test_flags_reach_the_stages(traitvec: Command, empty: SmallProject) -> None:
    done = traitvec(
        "run", "--experiment", "demo", "--traits", "refusal", "--n-examples", "9",
        "--methods", "mean_diff,probe", "--layers", "1,2", "--threshold", "45",
        "--batch-size", "6", "--max-concurrent-judges", "2", "--set", "sampling.seed=1",
        "--set", "scale=unit", "--model", "embedded", "--judge-model", "embedded",
    )  # fmt: skip
    assert done.code == 0, done.err
    folder = empty.trait("refusal")
    settings = {}
    for stage in ("responses", "judged_responses", "activations", "vectors"):
        provenance = folder.provenance(stage)
        assert provenance is not None
        settings[stage] = provenance.settings
    assert settings["responses"]["n_examples"] == 9
    # The rest of the file's own group stays.
    assert settings["responses"]["sampling"]["seed"] == 1
    assert settings["responses"]["sampling"]["max_new_tokens"] == 24
    assert settings["activations"]["threshold"] == 45
    assert settings["vectors"]["methods"] == ["mean_diff", "probe"]
    assert settings["vectors"]["layers"] == [1, 2]
    assert settings["vectors"]["scale"] == "unit"
    assert len(folder.read_responses()) == 18
    names = {path.stem for path in (folder.path / "vectors").glob("*.pt")}
    assert names == {f"{m}_layer{n}" for m in ("mean_diff", "probe") for n in (1, 2)}
    # Progress on the error stream, the result on the other.
    assert "refusal: responses 18/18" in done.err
    assert done.err.count("judged_responses 36/36") == 1
    assert "report: experiments/demo/refusal/validation/report.html" in done.out
    assert "1 of 1 traits" in done.out
    assert "next: `traitvec ui`" in done.out
    for check in ("contrast", "norm", "accuracy", "other checks"):
        assert check in done.out
    assert not (empty.trait("uncertainty").path / "responses").exists()


def test_what_is_fresh_is_kept_and_said(traitvec: Command, finished: SmallProject) -> None:
    before = snapshot(finished.project.experiments)
    n_runs = finished.instance.get_runs_count()
    done = traitvec("run", "--experiment", "demo", "--traits", "all")
    assert done.code == 0, done.err
    for trait in ("refusal", "uncertainty"):
        assert f"{trait}: everything is fresh, nothing was recomputed" in done.out
    assert "2 of 2 traits" in done.out
    assert snapshot(finished.project.experiments) == before
    assert finished.instance.get_runs_count() == n_runs, "Dagster knows all of it already"


def test_a_selection_in_dagsters_syntax(traitvec: Command, finished: SmallProject) -> None:
    done = traitvec(
        "run", "--experiment", "demo", "--trait", "refusal", "--select", "vectors+", *QUICK
    )
    assert done.code == 0, done.err
    assert "vectors" in done.out
    assert "responses" not in done.out.splitlines()[0]
    newest = finished.instance.get_runs(limit=1)[0]
    selected = ("vectors", "steering_evaluation", "validation_report", "trait_dynamics")
    assert newest.asset_selection == set(map(finished.graph().key, selected))


@pytest.mark.parametrize(
    ("select", "stages"),
    [
        ("vectors", {"vectors"}),
        ("responses", {"responses"}),
        (
            "activations+",
            {
                "activations",
                "vectors",
                "steering_evaluation",
                "validation_report",
                "trait_dynamics",
            },
        ),
        ("+judged_responses", {"definition", "responses", "judged_responses"}),
        ("responses or vectors", {"responses", "vectors"}),
        ("judged_responses,activations", {"judged_responses", "activations"}),
        ("judged_responses, activations ,", {"judged_responses", "activations"}),
        ("+responses, trait_dynamics", {"definition", "responses", "trait_dynamics"}),
        ('key:"demo/vectors"', {"vectors"}),
        ("judged_responses+1 and not judged_responses", {"activations", "validation_report"}),
    ],
)
def test_selections(empty: SmallProject, select: str, stages: set[str]) -> None:
    from traitvec_dagster.runs.headless import select_stages

    keys = select_stages(empty.project, "demo", select)
    assert {key.path[1] for key in keys} == stages


@pytest.mark.parametrize(
    ("select", "unknown"),
    [("judged", "judged"), ("vectors, activation", "activation"), ("+vector+", "vector")],
)
def test_a_selection_of_no_stage_names_those_there_are(
    traitvec: Command, empty: SmallProject, select: str, unknown: str
) -> None:
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal", "--select", select)
    assert done.code == 1
    (line,) = done.error_lines
    assert f"there is no stage '{unknown}'; stages: definition, responses" in line
    assert len(line) < 200


def test_several_traits_of_which_one_is_broken(traitvec: Command, finished: SmallProject) -> None:
    finished.define("broken", {**demo_definition(), "eval_prompt": "Rate {question}"})
    before = snapshot(finished.trait("refusal").path)
    done = traitvec("run", "--experiment", "demo", "--traits", "broken,refusal")
    assert done.code == 1
    failed = [line for line in done.error_lines if line.startswith("broken failed:")]
    assert len(failed) == 1
    assert "eval_prompt has no {answer} placeholder" in failed[0]
    assert "refusal: everything is fresh" in done.out
    assert "1 of 2 traits" in done.out
    assert "failed: broken" in done.out
    assert snapshot(finished.trait("refusal").path) == before
    # And the others of the experiment can still be looked at.
    assert traitvec("status", "--experiment", "demo").code == 0


def test_a_blocking_check_that_fails_is_an_exit_code(
    traitvec: Command, empty: SmallProject
) -> None:
    empty.set(**FEW_VECTORS)
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal", "--threshold", "100")
    assert done.code == 1
    failed = [line for line in done.error_lines if "failed:" in line]
    assert len(failed) == 1
    assert "too few responses are left to extract from" in failed[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--trait", "nosuch"), "nosuch/trait_definition.json: is missing"),
        (("--trait", "../refusal"), "trait name '../refusal' cannot be used"),
        (("--trait", ","), "--trait is empty"),
        ((), "no trait given; use --trait NAME"),
        (("--trait", "all", "--select", "nosuch"), "--select 'nosuch'"),
        (("--trait", "all", "--select", "vectors+("), "--select 'vectors+(' cannot be parsed"),
        (("--trait", "all", "--select", ""), "--select ''"),
        (("--trait", "all", "--layers", "1,x"), "--layers '1,x': give numbers"),
        (("--trait", "all", "--layers", "-1"), "layers: must be distinct numbers"),
        (("--trait", "all", "--methods", "magic"), "methods"),
        (("--trait", "all", "--n-examples", "0"), "n_examples"),
        (("--trait", "all", "--threshold", "101"), "threshold"),
        (("--trait", "all", "--threshold", "nan"), "threshold"),
        (("--trait", "all", "--set", "sampling.sead=1"), "sampling.sead: no such setting"),
        (("--trait", "all", "--set", "nosuch=1"), "nosuch: no such setting"),
        (("--trait", "all", "--set", "nothing"), "write --set name=value"),
        (("--trait", "all", "--set", "scale=[1"), "is not valid YAML"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_before_anything_runs(
    traitvec: Command, empty: SmallProject, arguments: tuple[str, ...], says: str
) -> None:
    done = traitvec("run", "--experiment", "demo", *arguments)
    assert done.code == 1
    (line,) = done.error_lines
    assert line.startswith("error: ")
    assert says in line
    assert not (empty.trait("refusal").path / "responses").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--layers", "1,99"), "99"),
        (("--model", "/no/such/model"), "/no/such/model"),
        (("--set", "gradient_objective=no.such:thing", "--methods", "gradient"), "no.such"),
        (("--set", "sampling.max_new_tokens=32000"), "context"),
    ],
    ids=["layer", "model", "objective", "too long"],
)
def test_what_only_the_model_can_tell_is_one_line_too(
    traitvec: Command, finished: SmallProject, arguments: tuple[str, ...], says: str
) -> None:
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal", *arguments)
    assert done.code == 1
    failed = [line for line in done.error_lines if "failed:" in line]
    assert len(failed) == 1, done.err
    assert says in failed[0]
    assert "bug" not in failed[0]


def test_an_unknown_experiment_names_those_there_are(
    traitvec: Command, empty: SmallProject
) -> None:
    done = traitvec("run", "--experiment", "nosuch", "--trait", "all")
    assert done.code == 1
    (line,) = done.error_lines
    assert "there is no experiment 'nosuch'" in line
    assert "there are: demo" in line
    assert not (empty.folder / "experiments/nosuch").exists()


def test_status_of_what_is_made(traitvec: Command, finished: SmallProject) -> None:
    table = traitvec("status")
    assert table.code == 0, table.err
    assert table.out.count("all fresh") == 2
    assert "refusal" in table.out
    listed = traitvec("status", "--experiment", "demo", "--json")
    found = json.loads(listed.out)["demo"]["refusal"]
    assert set(found["stages"].values()) == {"fresh"}
    assert found["checks"]["contrast"]["figures"]["contrast"] > 0
    assert set(found["recommended"]) >= {"method", "layer", "coefficient", "why"}
    assert Path(found["report"]).is_file()


def test_status_fits_a_narrow_terminal_and_cuts_no_name(
    traitvec: Command, finished: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "agrees-with-whatever-the-user-claims"
    finished.define(name, demo_definition())
    changed = {**demo_definition("uncertainty"), "questions": ["What?", "Why?"]}
    finished.define("uncertainty", changed)
    monkeypatch.setattr(terminal.out, "width", 80)
    lines = traitvec("status").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert "".join(line[:18].strip() for line in lines if line[:18].strip() in name) == name
    assert all(state in "".join(lines) for state in ("all fresh", "stale:", "missing:"))


def test_status_of_what_is_stale_missing_or_broken(
    traitvec: Command, finished: SmallProject
) -> None:
    definition = demo_definition()
    definition["eval_prompt"] += " Be strict."
    finished.define("refusal", definition)
    finished.define("broken", {**definition, "questions": []})
    finished.define("untried", definition)
    states = {
        trait: row["stages"]
        for trait, row in json.loads(traitvec("status", "--json").out)["demo"].items()
    }
    assert list(states["refusal"].values()) == ["fresh", "fresh", *["stale"] * 6]
    assert set(states["uncertainty"].values()) == {"fresh"}
    assert list(states["untried"].values()) == ["fresh", *["missing"] * 7]
    assert list(states["broken"].values()) == ["broken", *["missing"] * 7]
    table = traitvec("status")
    assert table.code == 0
    assert "BROKEN" in table.out
    # A run that was cut after the report was written: still no traceback.
    (finished.trait("uncertainty").path / "vectors/mean_diff_layer1.pt").unlink()
    (finished.trait("uncertainty").path / "validation/report.html").write_text("<html>")
    (finished.trait("refusal").path / "vectors/manifest.json").write_text("{")
    assert traitvec("status").code == 0


def test_status_without_experiments(traitvec: Command) -> None:
    done = traitvec("status")
    assert done.code == 1
    assert "create one with `traitvec new-experiment NAME`" in done.error_lines[0]


@pytest.mark.services
def test_traits_side_by_side(traitvec: Command, tmp_path: Path) -> None:
    write_experiment(tmp_path / "project", "demo", ["refusal", "uncertainty"], FEW_VECTORS)
    found = traitvec("run", "--experiment", "demo", "--traits", "all", "--parallel", "2")
    assert found.code == 0, found.err
    assert "2 of 2 traits" in found.out
    assert any(line.startswith("uncertainty: responses") for line in found.error_lines)
    again = traitvec("run", "--experiment", "demo", "--traits", "all", "--parallel", "8")
    assert again.out.count("everything is fresh") == 2
