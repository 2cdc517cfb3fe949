"""Files of a project from elsewhere: none of them runs, whatever its name."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.conftest import Command
from tests.graph.webserver import LOCATION
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from traitvec_core.errors import TraitvecError
from traitvec_dagster.instance_file import SECTIONS_WITHOUT_CODE
from traitvec_dagster.project import Project

# Imported by our processes, by Dagster's, or by Python itself, in that order of their start.
SHADOWED = (
    "sitecustomize", "usercustomize", "json", "selectors", "multiprocessing", "yaml", "typer",
    "dagster", "torch", "traitvec_core", "traitvec_dagster",
)  # fmt: skip
# As the installed script does: the folder of the script, and not the working one, is on the path.
PROGRAM = [sys.executable, "-P", "-c", "from traitvec_dagster.cli.main import main; main()"]


@pytest.fixture
def clone(own_environment: None, tmp_path: Path) -> Iterator[Path]:
    """A project that brings modules with the names of those that are imported."""
    folder = tmp_path / "clone"
    write_experiment(folder, "demo", ["refusal", "verbosity"], {**FEW_VECTORS, "n_examples": 2})
    for name in SHADOWED:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + ' ')\nraise SystemExit(9)\n"
        )
    (folder / ".env").write_text(f"PYTHONPATH={folder}\n")
    yield folder
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


@pytest.mark.slow
def test_modules_of_the_project_are_not_imported_by_its_processes(clone: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "run", "--experiment", "demo", "--traits", "all", "--parallel", "2",
         "--select", "responses"],
        cwd=clone, capture_output=True, text=True, check=False, env=_without_path(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.services
def test_modules_of_the_project_are_not_imported_by_the_ui(clone: Path) -> None:
    port = "3971"
    with (clone / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "ui", "--port", port], cwd=clone, stdout=log, stderr=log,
            env=_without_path(),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not (answer := _locations(port)):
            assert process.poll() is None, (clone / "ui.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (clone / "ui.log").read_text()[-3000:]
            time.sleep(0.5)
        assert LOCATION["repositoryLocationName"] in answer
        assert "RepositoryLocation" in answer
    finally:
        process.terminate()
        process.wait(timeout=120)


def _without_path() -> dict[str, str]:
    """The environment, with this checkout importable and no folder of the working directory."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root}


def _locations(port: str) -> str:
    query = """{workspaceOrError {... on Workspace {
      locationEntries {name locationOrLoadError {__typename}}}}}"""
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=60)
    except httpx.HTTPError:
        return ""
    return answer.text


HOSTILE = {
    "run_launcher": {"module": "evil", "class": "Launcher"},
    "run_coordinator": {"module": "evil", "class": "Coordinator"},
    "storage": {"custom": {"module": "evil", "class": "Storage"}},
    "compute_logs": {"module": "evil", "class": "Logs"},
    "instance_class": {"module": "evil", "class": "Instance"},
    "secrets": {"custom": {"module": "evil", "class": "Secrets"}},
    "python_logs": {"dagster_handler_config": {"handlers": {"x": {"()": "os.system"}}}},
    "local_artifact_storage": {"module": "evil", "class": "Storage"},
    "anything_new": {},
}


@pytest.mark.parametrize("section", HOSTILE)
def test_a_projects_dagster_yaml_names_no_code(
    own_environment: None, tmp_path: Path, section: str
) -> None:
    assert section not in SECTIONS_WITHOUT_CODE
    file = tmp_path / ".dagster" / "dagster.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump({"telemetry": {"enabled": False}, section: HOSTILE[section]}))
    project = Project(tmp_path / "experiments")
    with pytest.raises(TraitvecError, match=f"{section} can load code.*`export DAGSTER_HOME="):
        project.enter()
    # The owner's own folder, named in the environment, is theirs.
    os.environ["DAGSTER_HOME"] = str(file.parent)
    Project(tmp_path / "experiments").enter()


@pytest.mark.parametrize("text", ["- a list", "{", "\x00"])
def test_a_dagster_yaml_that_cannot_be_read_is_one_line(
    own_environment: None, tmp_path: Path, text: str
) -> None:
    file = tmp_path / ".dagster" / "dagster.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(TraitvecError, match=r"dagster\.yaml"):
        Project(tmp_path / "experiments").enter()


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
@pytest.mark.parametrize(
    "name", ["", "dagster.yaml", "storage", "schedules/schedules.db", "history/runs/index.db"]
)
def test_dagster_writes_through_no_link_of_the_project(
    own_environment: None, tmp_path: Path, name: str, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "database").touch()
    place = tmp_path / "project" / ".dagster" / name
    place.parent.mkdir(parents=True)
    if kind == "link":
        place.symlink_to(outside / "database" if place.suffix else outside)
    elif kind == "hard link":
        os.link(outside / "database", place)
    else:
        os.mkfifo(place)
    project = Project(tmp_path / "project" / "experiments")
    with pytest.raises(TraitvecError, match="`export DAGSTER_HOME=/"):
        project.enter()
    assert [(file.name, file.stat().st_size) for file in outside.iterdir()] == [("database", 0)]


def test_a_value_that_dagster_refuses_is_one_line(own_environment: None, tmp_path: Path) -> None:
    (tmp_path / ".dagster").mkdir()
    (tmp_path / ".dagster" / "dagster.yaml").write_text("run_queue: {max_concurrent_runs: many}\n")
    with pytest.raises(
        TraitvecError, match=r"dagster\.yaml: .*max_concurrent_runs.*; fix it"
    ) as it:
        Project(tmp_path / "experiments").instance()
    assert "\n" not in str(it.value)


def test_the_shipped_dagster_yaml_and_changed_limits_pass(
    own_environment: None, tmp_path: Path
) -> None:
    write_experiment(tmp_path, "demo", ["refusal"])
    Project(tmp_path / "experiments").enter()
    file = tmp_path / ".dagster" / "dagster.yaml"
    limits = yaml.safe_load(file.read_text())
    limits["concurrency"]["runs"]["max_concurrent_runs"] = 7
    file.write_text(yaml.safe_dump(limits))
    os.environ.pop("DAGSTER_HOME")
    with SmallProject(tmp_path) as project:
        queue = project.instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 7


def test_a_command_says_it_in_one_line(traitvec: Command) -> None:
    write_experiment(Path.cwd(), "demo", ["refusal"])
    Path(".dagster").mkdir()
    Path(".dagster/dagster.yaml").write_text("run_launcher: {module: evil, class: Launcher}\n")
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal")
    assert done.code == 1
    (line,) = done.error_lines
    assert "run_launcher can load code" in line
