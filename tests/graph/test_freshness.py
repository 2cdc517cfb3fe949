"""What Dagster's UI calls stale is what `traitvec status` calls stale, stage by stage."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.automation.ticking import Ticking
from tests.conftest import MakeOnce
from tests.graph.webserver import dagster_webserver
from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment
from traitvec_core.stage_names import STAGES, Stage

pytestmark = pytest.mark.slow

ALL: list[Stage] = list(STAGES[1:])
TRAITS = ("refusal", "uncertainty")
STEERING = {"evaluate": True, "n_search": 5, "n_held_out": 10, "n_random": 4}
# The rubric of the other trait scores what else steering by this one does.
SETTINGS: dict[str, Any] = {
    **FEW_VECTORS,
    "steering": {**STEERING, "side_effects": ["uncertainty"]},
}
ASKED = " ".join(
    f"""{stage}: assetNodeOrError(assetKey: {{path: ["demo", "{stage}"]}}) {{
      ... on AssetNode {{ staleStatusByPartition(partitions: $traits) }} }}"""
    for stage in STAGES
)
QUERY = f"query($traits: [String!]!) {{ {ASKED} }}"


@dataclass
class Served:
    """A finished project, a sensor that ticks, and the webserver's answers."""

    project: SmallProject
    tick: Ticking
    client: httpx.Client

    def in_dagster(self) -> dict[str, list[Stage]]:
        """By trait, the stages that the UI calls stale."""
        query = {"query": QUERY, "variables": {"traits": TRAITS}}
        nodes = self.client.post("/graphql", json=query).json()["data"]
        return {
            trait: [stage for stage in STAGES
                    if nodes[stage]["staleStatusByPartition"][number] == "STALE"]
            for number, trait in enumerate(TRAITS)
        }  # fmt: skip

    def on_disk(self) -> dict[str, list[Stage]]:
        """By trait, the stages that `traitvec status` calls stale; a broken definition is, too."""
        return {
            trait: [stage for stage, state in self.project.states(trait).items()
                    if state in {"stale", "broken"}]
            for trait in TRAITS
        }  # fmt: skip

    def stale(self, trait: str = "refusal") -> list[Stage]:
        """Tick; what both call stale."""
        self.tick()
        in_dagster = self.in_dagster()
        assert in_dagster == self.on_disk()
        return in_dagster[trait]


@pytest.fixture(scope="module")
def served(
    make_once: MakeOnce,
    new_instance: Path,
    own_module_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    def fill(folder: Path) -> None:
        shutil.copytree(new_instance, folder / ".dagster")
        write_experiment(folder, "demo", list(TRAITS), SETTINGS)
        with SmallProject(folder) as project:
            # The other trait is needed for its rubric, and has what a run in part leaves.
            for trait, select in (("refusal", "*"), ("uncertainty", "definition,responses")):
                run = project.run(trait, select)
                assert run.is_success, run.problems

    folder = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(make_once("scoring-each-other", fill), folder)
    with SmallProject(folder) as project:
        project.project.enter()
        with dagster_webserver(folder, folder.parent / "webserver.log") as client:
            yield Served(project, Ticking(project), client)


def _definition(trait: str = "refusal", **changed: Any) -> Callable[[SmallProject], None]:
    return lambda project: project.define(trait, {**demo_definition(trait), **changed})


def _setting(**changed: Any) -> Callable[[SmallProject], None]:
    return lambda project: project.set(**changed)


def _file(name: str) -> Callable[[SmallProject], None]:
    def edit(project: SmallProject) -> None:
        path = project.trait("refusal").path / name
        path.write_bytes(path.read_bytes() + b" ")

    return edit


def _model(project: SmallProject) -> None:
    from traitvec_core.embedded import embedded_model_path

    copy = project.folder / "model"
    shutil.copytree(embedded_model_path(), copy)
    (copy / "generation_config.json").write_text('{"do_sample": true}')
    project.set(model=str(copy))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_definition(questions=["What is tea?", "What is rain?"]), ALL),
        (_definition(eval_prompt="Rate. {question} {answer} A number."), ALL[1:]),
        (_definition(description="In other words."), ["validation_report"]),
        (_definition(name="Another name"), []),
        (_definition("uncertainty", eval_prompt="Rate. {question} {answer} Number."), ALL[4:]),
        (_setting(n_examples=6), ALL),
        (_setting(threshold=60), ALL[2:]),
        (_setting(layers=[2]), ALL[3:]),
        (_setting(thresholds={"accuracy": 0.5}), ["validation_report"]),
        (_setting(monitoring_prompts=["How are you?"]), ["trait_dynamics"]),
        (_setting(batch_size=3), []),
        (_setting(steering={"evaluate": False}), ALL[4:]),
        (_model, ALL),
        (_file("responses/pos.csv"), ALL[1:]),
        (_file("activations/all_layers.pt"), ALL[2:]),
        (_file("validation/report.html"), ["validation_report"]),
    ],
    ids=[
        "questions", "rubric", "description", "name", "the other trait's rubric", "examples",
        "threshold", "layers", "thresholds", "monitoring", "batch size", "steering", "model",
        "scores", "tensor", "report",
    ],
)  # fmt: skip
def test_after_a_change_and_back_again(
    served: Served, change: Callable[[SmallProject], None], expected: list[Stage]
) -> None:
    with _restored(served.project):
        assert served.stale() == []
        change(served.project)
        assert served.stale() == expected
    # Without a run.
    assert served.stale() == []


def test_after_runs_in_part(served: Served) -> None:
    """The sensor does not tick in between."""
    project = served.project
    with _restored(project):
        rubric = demo_definition()["eval_prompt"] + " Answer with one number."
        _definition(eval_prompt=rubric)(project)
        assert served.stale() == ALL[1:]
        # A new definition is no reason to call the responses stale, nor is it one not to call
        # anything else so.
        for select, expected in (
            ("definition", ALL[1:]), ("responses", ALL[1:]), ("vectors", ALL[1:]),
        ):  # fmt: skip
            assert project.run("refusal", select).is_success
            assert served.in_dagster() == served.on_disk()
            assert served.in_dagster()["refusal"] == expected
        assert project.run("refusal", "judged_responses").is_success
        assert served.in_dagster() == served.on_disk()
        assert not {"responses", "judged_responses"} & set(served.in_dagster()["refusal"])
    # The results before are back, and Dagster has seen others since.
    assert served.stale() == []


def test_a_run_with_other_settings_leaves_stale_stages(served: Served) -> None:
    project = served.project
    with _restored(project):
        assert project.run("refusal", "activations,vectors", threshold=45).is_success
        assert served.in_dagster() == served.on_disk()
        assert served.in_dagster()["refusal"] == ALL[2:]
        # Now it was made with the settings of the file.
        project.set(threshold=45)
        assert not {"activations", "vectors"} & set(served.stale())
    assert served.stale() == []


def test_a_broken_definition_makes_everything_stale(served: Served) -> None:
    project = served.project
    with _restored(project):
        project.define("refusal", {"questions": []})
        assert served.stale() == list(STAGES)
        assert not project.run("refusal", "definition").is_good
        assert served.stale() == list(STAGES)
    assert served.stale() == []


def test_a_tick_reports_only_what_has_changed(served: Served) -> None:
    project, tick = served.project, served.tick
    assert served.stale() == []
    assert not tick().asset_events
    with _restored(project):
        _setting(thresholds={"accuracy": 0.5})(project)
        result = tick()
        assert [event.asset_key.path for event in result.asset_events] == [
            ["demo", "inputs", "validation_report_inputs"]
        ]
        assert "refusal: stale: validation_report" in str(result.skip_reason)
        assert not tick().asset_events
    result = tick()
    assert "refusal: fresh again: validation_report" in str(result.skip_reason)


@contextmanager
def _restored(project: SmallProject) -> Iterator[None]:
    """Put all files back at the end."""
    experiment = project.trait("refusal").path.parent
    before = project.folder / "before"
    shutil.copytree(experiment, before)
    try:
        yield
    finally:
        shutil.rmtree(experiment)
        shutil.move(before, experiment)
        shutil.rmtree(project.folder / "model", ignore_errors=True)
