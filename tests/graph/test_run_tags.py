"""Which tags of a run Dagster's pages show: what a reader needs, not which process it was."""

from pathlib import Path

import pytest

from tests.graph.webserver import dagster_webserver
from tests.projects import SmallProject
from traitvec_dagster.runs.ownership import HOST_TAG, PID_TAG, START_TAG

pytestmark = pytest.mark.slow

TAGS = """{ runsOrError(limit: 1) { ... on Runs { results { tags { key value } } } } }"""


def test_the_process_of_a_run_is_known_and_not_shown(
    finished: SmallProject, tmp_path: Path
) -> None:
    run = finished.run("refusal", select="definition", redo=[])
    (record,) = finished.instance.get_runs(limit=1)
    assert run.is_success
    assert {HOST_TAG, PID_TAG, START_TAG} <= set(record.tags)
    with dagster_webserver(finished.folder, tmp_path / "webserver.log") as client:
        answer = client.post("/graphql", json={"query": TAGS}).json()["data"]
    (shown,) = answer["runsOrError"]["results"]
    keys = {tag["key"] for tag in shown["tags"]}
    assert "dagster/partition" in keys
    assert "traitvec/experiment" in keys
    assert not {HOST_TAG, PID_TAG, START_TAG} & keys
