"""With a bucket, all that a stage reads outside its trait's folder reaches another machine."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import MakeOnce
from tests.graph.two_elicitations import two_elicitations
from tests.projects import FEW_VECTORS, demo_definition, write_experiment
from tests.providers.server import FakeProvider
from tests.storage.conftest import Bucket
from traitvec_core.errors import TraitvecError
from traitvec_core.stages.judge_check import check_judges_ahead
from traitvec_core.stages.make import make, stage_states
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder, refresh
from traitvec_core.trial.definition_file import replace_definition
from traitvec_core.validation.report_manifest import ReportManifest

pytestmark = pytest.mark.services


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return tmp_path / "one" / "experiments"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The experiments of another machine: nothing yet."""
    return tmp_path / "two" / "experiments"


def trait(root: Path, name: str = "refusal", experiment: str = "demo") -> TraitFolder:
    return ExperimentFolder(root, experiment).trait(name)


def test_the_second_elicitation_reaches_the_machine_of_the_report(
    bucket: Bucket,
    one: Path,
    two: Path,
    make_once: MakeOnce,
    new_instance: Path,
    one_picture: None,
) -> None:
    made = two_elicitations(make_once, new_instance) / "experiments"
    shutil.copytree(made / "demo", one / "demo")
    refresh(one)
    trait(one).refresh()
    refresh(two)
    settings = ExperimentFolder(two, "demo").settings()
    assert stage_states(trait(two), settings)["validation_report"] == "fresh"

    # The other machine makes it, after this one has looked.
    shutil.copytree(made / "other", one / "other")
    trait(one, experiment="other").refresh()
    assert not (two / "other").exists()
    assert not make("validation_report", trait(two), settings).is_reused
    report = trait(two).manifest(ReportManifest)
    assert report.second_opinion is not None
    assert report.second_opinion.experiment == "other"
    assert stage_states(trait(two), settings)["validation_report"] == "fresh"

    # A later change there is seen when the experiment is refreshed, as its sensor does.
    other = trait(one, experiment="other")
    make("steering_evaluation", other, ExperimentFolder(one, "other").settings())
    ExperimentFolder(two, "demo").refresh()
    assert stage_states(trait(two), settings)["validation_report"] == "stale"


def test_the_rubrics_of_other_traits_are_the_newest(bucket: Bucket, one: Path, two: Path) -> None:
    write_experiment(
        one.parent, "demo", ["refusal", "uncertainty"],
        {**FEW_VECTORS, "also_judge": ["uncertainty"]},
    )  # fmt: skip
    refresh(one)
    settings = ExperimentFolder(one, "demo").settings()
    make("responses", trait(one), settings)
    refresh(two)
    rubric = "Rate it. {question} {answer} A number."
    other = trait(one, "uncertainty")
    other.write(
        "trait_definition.json",
        json.dumps({**demo_definition("uncertainty"), "eval_prompt": rubric}).encode(),
    )
    refresh(one)
    made = make("judged_responses", trait(two), settings)
    assert trait(two, "uncertainty").definition().eval_prompt == rubric
    assert made.provenance.inputs["rubric of uncertainty"] == other.definition().rubric_hash


def test_what_is_judged_elsewhere_needs_no_judge_here(
    bucket: Bucket, one: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on a machine that has not seen the other trait's rubric yet is not refused."""
    write_experiment(
        one.parent, "demo", ["refusal", "uncertainty"],
        {
            **FEW_VECTORS, "also_judge": ["uncertainty"], "judge_model": "gpt-5-mini",
            "judge_preflight": False,
        },
    )  # fmt: skip
    refresh(one)
    settings = ExperimentFolder(one, "demo").settings()
    make("responses", trait(one), settings)
    with FakeProvider() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url_openai)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-machine-one")
        make("judged_responses", trait(one), settings)
    monkeypatch.delenv("OPENAI_API_KEY")
    trait(two).refresh()
    folder = ExperimentFolder(two, "demo")
    check_judges_ahead(folder, settings, ["refusal"], ["responses", "judged_responses"])
    with pytest.raises(TraitvecError, match="needs a key"):
        check_judges_ahead(folder, settings, ["uncertainty"], ["judged_responses"])


def test_earlier_definitions_follow_the_definition(bucket: Bucket, one: Path, two: Path) -> None:
    write_experiment(one.parent, "demo", ["refusal"], FEW_VECTORS)
    refresh(one)
    refresh(two)
    first = trait(one).read_definition_bytes()
    for name in ("Second", "Third"):
        data = json.dumps({**demo_definition(), "name": name}).encode()
        replace_definition(trait(one), data)
    # What merely looks like one stays where it is.
    trait(one).write("trait_definition.old.json", first)
    refresh(one)
    refresh(two)
    assert trait(two).read("trait_definition.1.json") == first
    assert json.loads(trait(two).read("trait_definition.2.json"))["name"] == "Second"
    assert not (two / "demo/refusal/trait_definition.old.json").exists()
    # The other machine goes on with the next number, and neither loses one.
    assert replace_definition(trait(two), first) == "trait_definition.3.json"
    refresh(two)
    refresh(one)
    assert json.loads(trait(one).read("trait_definition.3.json"))["name"] == "Third"
    assert trait(one).read_definition_bytes() == first
