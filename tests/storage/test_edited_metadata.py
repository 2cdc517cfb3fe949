"""A figure edited by hand in any metadata file is noticed, and crashes nothing."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import Command, traitvec  # noqa: F401
from tests.projects import SmallProject, edit_metadata, snapshot
from traitvec_core.atlas import build_atlas
from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.table import FORMATS
from traitvec_core.exchange.gather import gather
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.stages.make import make, stage_states
from traitvec_core.stages.trait_atlas import ATLAS_VALUES, make_atlas
from traitvec_core.stages.verify import verify_atlas, verify_trait
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.validation.checks.stored import stored_checks
from traitvec_core.validation.checks.table import applicable_checks
from traitvec_dagster.cli.status import status_of

pytestmark = pytest.mark.slow

Path_ = tuple[str | int, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of every leaf, outside the provenance."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if path or key != "provenance":
            if isinstance(item, dict | list) and item:
                yield from leaves(item, (*path, key))
            else:
                yield (*path, key)


def change(value: Any, path: Path_, how: str) -> None:
    """Change one leaf in place."""
    *way, last = path
    for key in way:
        value = value[key]
    old = value[last]
    if how == "remove":
        del value[last]
    elif how == "type":
        value[last] = {"unexpected": [old]}
    elif isinstance(old, bool) or old is None:
        value[last] = not old
    elif isinstance(old, int | float):
        value[last] = old + 1
    else:
        value[last] = f"{old}x"


@pytest.fixture(scope="module")
def copy(
    finished_folder: Path, tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> ExperimentFolder:
    """A copy of the finished experiment; each example repairs what it changed."""
    folder = tmp_path_factory.mktemp("edited") / "project"
    shutil.copytree(finished_folder, folder)
    experiment = ExperimentFolder(folder / "experiments", "demo")
    make_atlas(experiment, experiment.settings())
    return experiment


def metadata_files(trait: TraitFolder) -> dict[str, Stage]:
    """Every JSON file of a trait's stages, and the stage that wrote it."""
    files: dict[str, Stage] = {}
    for stage, name in METADATA_FILE.items():
        record = trait.provenance(stage)
        assert record is not None
        for file in (name, *record.files):
            if file.endswith(".json") and "token_ids" not in file:
                files[file] = stage
    return files


def read_everything(experiment: ExperimentFolder) -> None:
    """All that commands read; nothing but a `TraitvecError` may come out."""
    trait, chosen = experiment.trait("refusal"), experiment.settings()
    status_of(experiment)
    stored_checks(applicable_checks(chosen, trait), trait, chosen)
    build_atlas(experiment, chosen)
    for read in (
        trait.recommended,
        lambda: gather(experiment, ["refusal"], FORMATS["safetensors"].layers),
        *(lambda stage=stage: trait.metadata(stage) for stage in STAGES[1:]),
    ):
        with suppress(TraitvecError):
            read()


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_edited_leaf_is_noticed_and_crashes_nothing(
    copy: ExperimentFolder, data: st.DataObject
) -> None:
    trait, chosen = copy.trait("refusal"), copy.settings()
    files = metadata_files(trait)
    name = data.draw(st.sampled_from(sorted(files)))
    path = trait.path / name
    before = path.read_bytes()
    record = json.loads(before)
    leaf = data.draw(st.sampled_from(list(leaves(record))))
    change(record, leaf, data.draw(st.sampled_from(["value", "type", "remove"])))
    try:
        path.write_text(json.dumps(record, indent=2))
        assert stage_states(trait, chosen)[files[name]] == "stale"
        assert stage_states(copy.trait("uncertainty"), chosen)[files[name]] == "fresh"
        off = [(f.stage, f.file, f.problem) for f in verify_trait(trait)]
        assert off == [(files[name], name, "changed")]
        read_everything(copy)
    finally:
        path.write_bytes(before)
    assert verify_trait(trait) == []


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_metadata_without_a_hash_crash_nothing(copy: ExperimentFolder, data: st.DataObject) -> None:
    """Written before 0.9 and edited: not noticed, but typed."""
    trait = copy.trait("refusal")
    name = data.draw(st.sampled_from(sorted(METADATA_FILE.values())))
    path = trait.path / name
    before = path.read_bytes()
    leaf = data.draw(st.sampled_from(list(leaves(json.loads(before)))))
    how = data.draw(st.sampled_from(["value", "type", "remove"]))
    try:
        edit_metadata(path, lambda record: change(record, leaf, how))
        assert {f.problem for f in verify_trait(trait)} <= {"unverified", "damaged"}
        read_everything(copy)
    finally:
        path.write_bytes(before)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_edited_atlas_is_noticed_and_built_again(
    copy: ExperimentFolder, data: st.DataObject
) -> None:
    path = copy.path / ATLAS_VALUES
    before = path.read_bytes()
    record = json.loads(before)
    leaf = data.draw(st.sampled_from([x for x in leaves(record) if x != ("key",)]))
    change(record, leaf, data.draw(st.sampled_from(["value", "type", "remove"])))
    path.write_text(json.dumps(record))
    (finding,) = verify_atlas(copy)
    assert finding.is_off
    _, is_reused = make_atlas(copy, copy.settings())
    assert not is_reused
    assert path.read_bytes() == before
    assert verify_atlas(copy) == []


def test_a_layout_that_was_changed_is_no_edit(copy: ExperimentFolder) -> None:
    trait = copy.trait("refusal")
    path = trait.path / METADATA_FILE["vectors"]
    before = path.read_bytes()
    path.write_text(json.dumps(json.loads(before), sort_keys=True))
    assert stage_states(trait, copy.settings())["vectors"] == "fresh"
    assert verify_trait(trait) == []
    path.write_bytes(before)


def test_what_is_made_from_edited_metadata_is_refused(finished: SmallProject) -> None:
    """With `n_positive` edited, the vectors would point elsewhere, and nothing would say so."""
    trait = finished.trait("refusal")
    path = trait.path / METADATA_FILE["activations"]
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, "n_positive": record["n_positive"] - 1}))
    with pytest.raises(TraitvecError, match=r"metadata.json was edited after activations wrote it"):
        make("vectors", trait, finished.settings(layers=[3]))
    done = finished.run("refusal")
    assert done.is_good, done.problems
    assert list(done.made) == ["activations"]
    assert json.loads(path.read_bytes())["n_positive"] == record["n_positive"]


def test_results_of_earlier_versions_stay_fresh(finished: SmallProject) -> None:
    """They have no hash of their metadata; hundreds of GPU hours are not spent again for it."""
    trait = finished.trait("refusal")
    for name in METADATA_FILE.values():
        edit_metadata(trait.path / name, lambda record: None)
    assert set(finished.states("refusal").values()) == {"fresh"}
    findings = verify_trait(trait)
    assert {f.problem for f in findings} == {"unverified"}
    assert not any(f.is_off for f in findings)
    before = snapshot(trait.path)
    assert finished.run("refusal").is_good
    assert snapshot(trait.path) == before


COMMANDS = (
    ["status", "--json"], ["check", "--experiment", "demo"], ["compare", "demo", "other"],
    ["export", "--experiment", "demo", "--traits", "all", "--format", "safetensors", "--out", "x"],
    ["monitor", "--experiment", "demo", "--trait", "refusal", "--prompt", "Hi?"],
    ["atlas", "--experiment", "demo"], ["estimate", "--experiment", "demo"], ["verify"],
)  # fmt: skip


@pytest.mark.parametrize("has_hash", [True, False])
@pytest.mark.parametrize(
    ("stage", "edit"),
    [
        ("vectors", lambda record: record.pop("recommended")),
        ("vectors", lambda record: record.update(recommended=[3], vectors="none")),
        ("activations", lambda record: record.update(n_layers="many", question_ids=None)),
        ("validation_report", lambda record: record.pop("checks")),
        ("steering_evaluation", lambda record: record.update(is_evaluated={})),
    ],
)
def test_no_command_crashes(
    traitvec: Command,  # noqa: F811
    finished: SmallProject,
    stage: Stage,
    edit: Callable[[dict[str, Any]], object],
    has_hash: bool,
) -> None:
    experiments = finished.project.experiments
    shutil.copytree(experiments / "demo", experiments / "other")
    path = finished.trait("refusal").path / METADATA_FILE[stage]
    record = json.loads(path.read_bytes())
    edit(record)
    path.write_text(json.dumps(record))
    if not has_hash:
        edit_metadata(path, lambda record: None)
    for command in COMMANDS:
        done = traitvec(*command)
        assert "Traceback" not in done.out + done.err, command
        assert "this is a bug" not in done.out + done.err, command
        assert done.code in (0, 1), command
        if command[0] == "status":
            assert "uncertainty" in done.out
        if command[0] == "verify":
            assert path.name in done.out
            assert done.code == 1
