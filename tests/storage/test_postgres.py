"""Dagster's own storage on Postgres: a real cluster, started and stopped by the tests."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from tests.storage.postgres_cluster import PASSWORD, Cluster, program
from traitvec_dagster.cli.doctor import examine
from traitvec_dagster.graph.checks import CHECKED_STAGE
from traitvec_dagster.graph.resources import set_progress_sink
from traitvec_dagster.runs.ownership import close_dead_runs
from traitvec_dagster.runs.parallel import raise_pool_limit, run_traits

pytestmark = [
    pytest.mark.services,
    pytest.mark.usefixtures("own_environment", "one_picture"),
    pytest.mark.skipif(program("initdb") is None, reason="apt-get install postgresql"),
]
STORAGE = "\nstorage:\n  postgres:\n    postgres_url: {env: TRAITVEC_POSTGRES_URL}\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("dagster_postgres", reason="pip install 'traitvec[postgres]'")
    found = Cluster()
    yield found
    found.close()


@pytest.fixture
def project(cluster: Cluster, tmp_path: Path, own_environment: None) -> Iterator[SmallProject]:
    """A project whose dagster.yaml names the cluster; its experiment has a unique name."""
    os.environ["TRAITVEC_POSTGRES_URL"] = cluster.url
    write_experiment(tmp_path, "demo", ["refusal", "uncertainty"], {**FEW_VECTORS, "n_examples": 6})
    home = tmp_path / ".dagster"
    home.mkdir()
    shipped = (resources.files("traitvec_dagster") / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(shipped + STORAGE)
    # Else it would be a project from elsewhere that brings its own storage.
    os.environ["DAGSTER_HOME"] = str(home)
    with SmallProject(tmp_path) as found:
        yield found
        found.instance.wipe()


def test_a_trait_goes_through_all_stages(project: SmallProject) -> None:
    done = project.run("refusal")
    assert done.is_success, done.problems
    assert set(done.verdicts) == set(CHECKED_STAGE) - {"agreement", "steering"}
    assert project.instance.get_dynamic_partitions("traits/demo") == ["refusal"]
    assert len(project.materializations("vectors", "refusal")) == 1
    assert {found.check_name for found in project.evaluations(done.run_id)} == set(done.verdicts)
    again = project.run("refusal")
    assert again.is_success
    assert not again.made
    # Nothing of Dagster's history lies in files.
    assert not list(project.folder.rglob("*.db"))
    found = {finding.what: finding for finding in examine(project.project)}
    assert found["Dagster"].state == "ok"
    assert found["Dagster"].result.startswith("2 runs")
    assert PASSWORD not in repr(found)


def test_traits_side_by_side_in_processes(project: SmallProject) -> None:
    assert raise_pool_limit(project.instance, 9)
    runs = list(
        run_traits(
            project.project, "demo", ["refusal", "uncertainty"], selection="responses",
            overrides={}, shares=[None, None], on_event=lambda event: None,
        )
    )  # fmt: skip
    assert all(run.is_success for run in runs), [run.problems for run in runs]
    limits = {
        limit.name: limit.limit for limit in project.instance.event_log_storage.get_pool_limits()
    }
    assert limits["gpu"] == 9
    statuses = {record.status for record in project.instance.get_runs()}
    assert statuses == {dg.DagsterRunStatus.SUCCESS}


def test_a_run_whose_process_was_killed_is_closed(project: SmallProject) -> None:
    project.instance.get_runs_count()
    killed = subprocess.run(
        [sys.executable, "-c", _DIES, str(project.folder)], timeout=300, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert [run.status for run in project.instance.get_runs()] == [dg.DagsterRunStatus.STARTED]
    assert len(close_dead_runs(project.instance)) == 1
    assert [run.status for run in project.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    done = project.run("refusal", select="responses")
    assert done.is_success, done.problems


_DIES = """
import sys
from pathlib import Path
from tests.runs.kill_driver import run
at = {"stage": "responses", "done": 6}
run(Path(sys.argv[1]), {"select": "responses", "at": at})
"""


class Outage:
    """A sink of progress that takes Postgres away once, while responses are being made."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._back: threading.Timer | None = None

    def __call__(self, stage: Any, done: int, total: int, note: str = "", **_: object) -> None:
        if self._back is None and done:
            self._cluster.stop()
            self._back = threading.Timer(self._seconds, self._cluster.start)
            self._back.start()

    def say(self, text: str) -> None:
        """Not waited for."""

    def end(self) -> None:
        assert self._back is not None, "Postgres was never taken away"
        self._back.join()


def run_through(project: SmallProject, outage: Outage) -> Any:
    set_progress_sink(outage)
    try:
        return project.run("refusal", select="responses or judged_responses")
    finally:
        set_progress_sink(None)
        outage.end()


def test_postgres_restarted_in_the_middle_of_a_run(project: SmallProject, cluster: Cluster) -> None:
    done = run_through(project, Outage(cluster, 1.0))
    assert done.is_success, done.problems
    assert set(done.made) == {"responses", "judged_responses"}


def test_postgres_away_for_longer_loses_nothing_that_was_finished(
    project: SmallProject, cluster: Cluster
) -> None:
    done = run_through(project, Outage(cluster, 25.0))
    assert not done.is_success
    assert "too many retries for DB connection" in "; ".join(done.problems)
    again = project.run("refusal", select="responses or judged_responses")
    assert again.is_success, again.problems
    assert project.trait("refusal").metadata("responses")["resumed_from"] > 0
