"""A report is stale when only the second experiment has changed, in Dagster as on disk."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.automation.ticking import Ticking
from tests.conftest import MakeOnce
from tests.graph.two_elicitations import two_elicitations
from tests.graph.webserver import dagster_webserver
from tests.projects import SmallProject
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.make import stage_states
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.stored import stored_checks
from traitvec_core.validation.report_manifest import ReportManifest

pytestmark = pytest.mark.services

EXPERIMENTS = ("demo", "other")
ASKED = " ".join(
    f"""{experiment}_{stage}: assetNodeOrError(assetKey: {{path: ["{experiment}", "{stage}"]}}) {{
      ... on AssetNode {{ staleStatusByPartition(partitions: ["refusal"]) }} }}"""
    for experiment in EXPERIMENTS
    for stage in STAGES
)


@dataclass
class Both:
    """Two experiments of which each names the other, their sensors, and the webserver."""

    project: SmallProject
    ticks: dict[str, Ticking]
    client: httpx.Client

    def stale(self) -> dict[str, list[Stage]]:
        """Let the sensors tick; what the UI and `traitvec status` both call stale."""
        for tick in self.ticks.values():
            tick()
        nodes = self.client.post("/graphql", json={"query": f"{{ {ASKED} }}"}).json()["data"]
        in_dagster = {
            experiment: [
                stage for stage in STAGES
                if nodes[f"{experiment}_{stage}"]["staleStatusByPartition"] == ["STALE"]
            ]
            for experiment in EXPERIMENTS
        }  # fmt: skip
        on_disk = {
            experiment: [stage for stage, state in self.states(experiment).items()
                         if state == "stale"]
            for experiment in EXPERIMENTS
        }  # fmt: skip
        assert in_dagster == on_disk
        return in_dagster

    def states(self, experiment: str) -> dict[Stage, Any]:
        folder = self.project.trait("refusal", experiment)
        return dict(stage_states(folder, self.project.settings(experiment)))

    def run(self, experiment: str) -> set[str]:
        """Run the trait; the stages that were made and not reused."""
        run = self.project.run("refusal", experiment=experiment)
        assert run.is_success, run.problems
        return set(run.made)

    def confounds(self) -> CheckResult:
        """What `traitvec status` shows."""
        folder, settings = self.project.trait("refusal"), self.project.settings()
        return stored_checks(["confounds"], folder, settings)["confounds"]

    def opinion(self, experiment: str) -> ReportManifest:
        return self.project.trait("refusal", experiment).manifest(ReportManifest)


@pytest.fixture(scope="module")
def both(
    make_once: MakeOnce,
    new_instance: Path,
    own_module_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both") / "project"
    shutil.copytree(two_elicitations(make_once, new_instance), folder)
    with SmallProject(folder) as project:
        project.set("other", second_elicitation="demo")
        project.project.enter()
        with dagster_webserver(folder, folder.parent / "webserver.log") as client:
            ticks = {experiment: Ticking(project, experiment) for experiment in EXPERIMENTS}
            yield Both(project, ticks, client)


def test_two_that_name_each_other_are_fresh_after_two_runs_of_each(both: Both) -> None:
    # `other` has vectors since the report of `demo`, and no report yet.
    assert both.stale() == {"demo": ["validation_report"], "other": []}
    assert "validation_report" in both.run("other")
    # Its steering evaluation is new, and says that it is switched off.
    assert both.stale() == {"demo": ["validation_report"], "other": []}
    assert both.run("demo") == {"validation_report"}
    # A report is no input of the other one: nothing goes back and forth.
    for _ in range(2):
        assert both.stale() == {"demo": [], "other": []}
        assert both.run("other") == both.run("demo") == set()
    there, back = (both.opinion(experiment).second_opinion for experiment in EXPERIMENTS)
    assert there is not None
    assert back is not None
    assert there.transfers == back.transfers[::-1]
    assert there.opinion == back.opinion


def test_a_change_of_the_second_alone_makes_the_report_stale(both: Both) -> None:
    project = both.project
    both.run("other")
    both.run("demo")
    assert both.stale() == {"demo": [], "other": []}
    project.set("other", layers=[1, 2])
    # Its settings are no result: what there is to compare is the same.
    assert both.stale()["demo"] == []
    assert "vectors" in both.stale()["other"]
    assert "vectors" in both.run("other")
    assert both.stale() == {"demo": ["validation_report"], "other": []}
    assert both.run("demo") == {"validation_report"}
    opinion = both.opinion("demo").second_opinion
    assert opinion is not None
    # Layer 2 is in both, and the mean differences are compared at each one's own layer.
    own, other = (transfer.layer for transfer in opinion.transfers)
    assert {row.layer for row in opinion.cosines} == {2, own, other}
    assert both.stale() == {"demo": [], "other": []}


def test_a_vector_of_the_second_that_is_edited_and_put_back(both: Both) -> None:
    both.run("other")
    both.run("demo")
    before = both.opinion("demo").second_opinion
    assert "second_opinion" in both.confounds().figures
    vector = both.project.trait("refusal", "other").path / "vectors/mean_diff_layer2.pt"
    content = vector.read_bytes()
    vector.write_bytes(content + b"\0")
    assert both.stale()["demo"] == ["validation_report"]
    assert "second_opinion" not in both.confounds().figures
    vector.write_bytes(content)
    assert "second_opinion" in both.confounds().figures
    assert both.stale() == {"demo": [], "other": []}
    assert both.opinion("demo").second_opinion == before
