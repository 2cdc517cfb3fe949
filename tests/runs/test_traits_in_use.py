"""A trait in the middle of its run, and `remove-trait` with another DAGSTER_HOME."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command, traitvec  # noqa: F401
from tests.projects import FEW_VECTORS, REPOSITORY, SmallProject, snapshot, write_experiment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", ["command", "ui"])
def test_a_trait_is_not_removed_in_the_middle_of_its_run(
    traitvec: Command,  # noqa: F811
    tmp_path: Path, how: str,
) -> None:  # fmt: skip
    project = Path.cwd()
    write_experiment(project, "demo", ["refusal", "uncertainty"], FEW_VECTORS)
    run = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.runs.waiting_run", str(project), how],
        cwd=REPOSITORY, env={**os.environ, "DAGSTER_HOME": str(project / ".dagster")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdin is not None
    assert run.stdout is not None
    assert run.stdout.readline() == "waiting\n"
    before = snapshot(project / "experiments")
    another = tmp_path / "another"
    remove = ("remove-trait", "--experiment", "demo", "--yes", "--trait")
    done = traitvec(*remove, "refusal", dagster_home=another)
    assert done.code == 1
    (line,) = done.error_lines
    assert "refusal cannot be removed now: responses is being made by process" in line
    assert f"process {run.pid} on " in line
    assert another.is_dir(), "it had the same instance"
    assert snapshot(project / "experiments") == before
    # Other traits are free.
    assert traitvec(*remove, "uncertainty", dagster_home=another).code == 0
    run.stdin.close()
    assert run.stdout.readline() == "good\n"
    assert run.wait(60) == 0
    with SmallProject(project) as small:
        assert set(small.states("refusal").values()) == {"fresh"}
    done = traitvec(*remove, "refusal")
    assert done.code == 0, done.err
    assert not (project / "experiments/demo/refusal").exists()
