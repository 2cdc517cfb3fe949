"""`ExperimentsComponent` in a project of `create-dagster`'s that has traitvec installed."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from tests.projects import REPOSITORY, write_experiment
from traitvec_core.errors import TraitvecError
from traitvec_dagster.component import ExperimentsComponent
from traitvec_dagster.scaffolder import ExperimentsScaffolder

_TYPE = "traitvec_dagster.component.ExperimentsComponent"


@pytest.fixture
def lab(tmp_path: Path, own_environment: None) -> Path:
    """What `create-dagster project lab` writes, without the parts about packaging."""
    defs = tmp_path / "src" / "lab" / "defs"
    defs.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "lab"\n[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "lab"\nregistry_modules = ["lab.components.*"]\n'
    )
    (defs / "__init__.py").touch()
    (defs.parent / "__init__.py").touch()
    (defs.parent / "definitions.py").write_text(
        "from pathlib import Path\n\nfrom dagster import definitions, load_from_defs_folder\n\n\n"
        "@definitions\ndef defs():\n"
        "    return load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    _install_entry_points(tmp_path / "site")
    return tmp_path


def test_two_components_stand_in_one_project(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(lab / "src")
    for name, experiments in (("lab2", None), ("more", "labs/more")):
        folder = lab / "src" / "lab" / "defs" / name
        folder.mkdir()
        scaffolder = ExperimentsScaffolder()
        params = scaffolder.get_scaffold_params()(experiments=experiments)
        scaffolder.scaffold(dg.ScaffoldRequest(_TYPE, folder, "yaml", lab, params))
    (lab / "lab2" / "one").mkdir()
    (lab / "labs" / "more" / "two").mkdir()
    definitions = dg.load_from_defs_folder(path_within_project=lab / "src" / "lab")
    repository = definitions.get_repository_def()
    groups = {node.group_name for node in repository.asset_graph.asset_nodes}
    assert groups == {"one", "one_inputs", "two", "two_inputs"}
    assert {"lab2_failed_run_webhook", "more_failed_run_webhook"} <= {
        sensor.name for sensor in repository.sensor_defs
    }


@pytest.mark.services
def test_dg_scaffolds_the_component_and_accepts_it(lab: Path) -> None:
    _dg(lab, "scaffold", "defs", _TYPE, "lab2")
    file = lab / "src" / "lab" / "defs" / "lab2" / "defs.yaml"
    assert yaml.safe_load(file.read_text()) == {
        "type": _TYPE, "attributes": {"experiments": "lab2", "executor": "in_process"},
    }  # fmt: skip
    assert "# The folder that holds the experiments" in file.read_text()
    # Nothing was written into it yet, and it loads.
    assert (lab / "lab2").is_dir()
    write_experiment(lab, "demo", ["refusal"])
    (lab / "experiments" / "demo").rename(lab / "lab2" / "demo")
    # A second one, elsewhere; the first sets the executor.
    write_experiment(lab, "other", ["refusal"])
    _dg(lab, "scaffold", "defs", _TYPE, "more", "--experiments", "experiments")
    more = file.parents[1] / "more" / "defs.yaml"
    more.write_text(more.read_text().replace("executor: in_process", "executor: null"))
    _dg(lab, "check", "yaml")
    listed = json.loads(_dg(lab, "list", "defs", "--json"))
    keys = {asset["asset_key"] for asset in listed["assets"]}
    assert {"demo/vectors", "other/vectors"} <= keys
    names = [sensor["name"] for sensor in listed["sensors"]]
    assert len(names) == len(set(names))
    assert {"lab2_failed_run_webhook", "more_failed_run_webhook", "demo_definitions"} <= set(names)


@pytest.mark.services
def test_a_second_component_stands_beside_the_experiments_of_this_project(
    tmp_path: Path, own_environment: None
) -> None:
    shutil.copytree(
        REPOSITORY / "traitvec_dagster", tmp_path / "traitvec_dagster",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    write_experiment(tmp_path, "demo", [])
    _install_entry_points(tmp_path / "site")
    _dg(tmp_path, "scaffold", "defs", _TYPE, "lab2")
    (tmp_path / "lab2" / "third").mkdir()
    listed = json.loads(_dg(tmp_path, "list", "defs", "--json"))
    groups = {asset["group_name"] for asset in listed["assets"]}
    assert groups == {"demo", "demo_inputs", "third", "third_inputs"}


def test_dg_names_the_line_of_each_wrong_attribute(lab: Path) -> None:
    defs = lab / "src" / "lab" / "defs" / "lab2"
    defs.mkdir()
    file = defs / "defs.yaml"
    file.write_text(
        f"type: {_TYPE}\nattributes:\n  experiments: 3\n  executor: [ray]\n  experiment: lab2\n"
    )
    answer = _dg(lab, "check", "yaml", fails=True)
    assert f"{file}:3 - {_TYPE} attributes.experiments 3 is not valid" in answer
    assert f"{file}:4 - {_TYPE} attributes.executor ['ray'] is not valid" in answer
    assert "('experiment' was unexpected)" in answer
    assert "Traceback" not in answer


def test_wrong_values_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path / "a", "demo", [])
    write_experiment(tmp_path / "b", "demo", [])
    both = ["a/experiments", "b/experiments"]
    for component, line in (
        (ExperimentsComponent("labs"), "experiments: there is no folder labs; correct the path"),
        (ExperimentsComponent(both), "experiments: demo is in a/experiments and in b/experiments"),
        (ExperimentsComponent([], "threads"), "unknown executor 'threads'"),
    ):
        with pytest.raises(TraitvecError, match=r"^[^\n]{20,200}$") as error:
            dg.build_defs_for_component(component)
        assert line in str(error.value)


def test_several_folders_are_graphs_of_one_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path / "a", "one", [])
    write_experiment(tmp_path / "b", "two", [])
    component = ExperimentsComponent(["a/experiments", str(tmp_path / "b" / "experiments")])
    repository = dg.build_defs_for_component(component).get_repository_def()
    groups = {node.group_name for node in repository.asset_graph.asset_nodes}
    assert groups == {"one", "one_inputs", "two", "two_inputs"}


def _dg(folder: Path, *arguments: str, fails: bool = False) -> str:
    """Run `dg` in a project, and return what it says."""
    paths = [folder, folder / "site", folder / "src", REPOSITORY]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *arguments], cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)),
             "DG_CLI_DISABLE_TELEMETRY": "1", "DAGSTER_HOME": str(folder)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + (done.stderr if fails else "")


def _install_entry_points(site: Path) -> None:
    """Install traitvec's entry points as in pyproject.toml, whatever the tests run with."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    folder = site / "traitvec_entry_points-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Name: traitvec_entry_points\nVersion: 0\n")
    lines = [
        line
        for group, names in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in names.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))
