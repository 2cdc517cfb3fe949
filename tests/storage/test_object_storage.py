"""The tree of experiments in a bucket: a real client against a local S3 server, two machines."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import dagster as dg
import pytest

from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment
from tests.storage.conftest import Bucket
from traitvec_core.errors import TraitvecError
from traitvec_core.stages.make import make, stage_states
from traitvec_core.storage import bucket as object_storage
from traitvec_core.storage.bucket_sync import working_copy
from traitvec_core.storage.files import list_experiments
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder, refresh
from traitvec_core.storage.provenance import Provenance

pytestmark = pytest.mark.services

FILES = {"responses/raw_pos.csv": b"response\nyes\n", "responses/raw_neg.csv": b"response\nno\n"}
OTHER = {"responses/raw_pos.csv": b"response\nYES\n", "responses/raw_neg.csv": b"response\nNO\n"}


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_storage, "PATIENCE_S", 20.0)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """The experiments of a machine, on which somebody has written two traits."""
    write_experiment(tmp_path / "one", "demo", ["refusal", "uncertainty"], FEW_VECTORS)
    return tmp_path / "one" / "experiments"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The experiments of another machine: nothing yet."""
    return tmp_path / "two" / "experiments"


def trait(root: Path, name: str = "refusal") -> TraitFolder:
    return ExperimentFolder(root, "demo").trait(name)


def commit(folder: TraitFolder, files: dict[str, bytes], key: str) -> Provenance:
    """Finish a stage as `make` does, without a model."""
    made = Provenance(stage="responses", key=key, inputs={}, settings={})
    return folder.commit("responses", files, {}, made)


# -- two machines ---------------------------------------------------------------------------------


def test_another_machine_goes_on_where_the_first_stopped(
    bucket: Bucket, one: Path, two: Path
) -> None:
    refresh(one)
    settings = ExperimentFolder(one, "demo").settings()
    first = make("responses", trait(one), settings)
    judged = make("judged_responses", trait(one), settings)

    refresh(two)
    assert list_experiments(two) == ["demo"]
    assert ExperimentFolder(two, "demo").traits() == ["refusal", "uncertainty"]
    assert ExperimentFolder(two, "demo").settings() == settings
    assert stage_states(trait(two), settings)["judged_responses"] == "fresh"
    assert not (two / "demo/refusal/responses/pos.csv").exists(), "status needs no file of a stage"
    for stage in ("activations", "vectors"):
        assert not make(stage, trait(two), settings).is_reused
    again = make("responses", trait(two), settings)
    assert again.is_reused
    assert again.provenance == first.provenance
    assert make("judged_responses", trait(two), settings).provenance == judged.provenance

    vector = trait(two).read_vector("mean_diff", 3)
    trait(one).refresh()
    assert trait(one).read_vector("mean_diff", 3).equal(vector), "fetched when it is read"
    assert stage_states(trait(one), settings)["vectors"] == "fresh"


def test_files_come_before_the_metadata_that_names_them(bucket: Bucket, one: Path) -> None:
    refresh(one)
    commit(trait(one), FILES, "k")
    puts = [line for line in bucket.server.requests if "PUT" in line and "/responses/" in line]
    assert [".zip" in line for line in puts] == [True, False]
    assert "generation_metadata.json" in puts[1]


def test_a_machine_killed_between_files_and_metadata_leaves_the_former_stage(
    bucket: Bucket, one: Path, two: Path
) -> None:
    refresh(one)
    former = commit(trait(one), FILES, "former")
    died = subprocess.run([sys.executable, "-c", _DIES, str(one)], timeout=300, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len([name for name in bucket.names() if name.endswith(".zip")]) == 2, "it had put files"

    refresh(two)
    assert trait(two).provenance("responses") == former
    trait(two).fetch("responses")
    assert trait(two).is_here(former)

    # The machine that died has its result still, and its next run puts it.
    trait(one).refresh()
    trait(two).refresh()
    found = trait(two).provenance("responses")
    assert found is not None
    assert found.key == "later"
    trait(two).fetch("responses")
    assert (two / "demo/refusal/responses/raw_pos.csv").read_bytes() == b"response\nYES\n"


_DIES = """
import os, signal, sys
from traitvec_core.storage.bucket import ObjectStorage
from traitvec_core.storage.provenance import Provenance
from traitvec_core.storage.folders import ExperimentFolder

folder = ExperimentFolder(sys.argv[1], "demo").trait("refusal")
folder.refresh()
ObjectStorage.put_after = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
files = {f"responses/raw_{p}.csv": b"response\\n" + t + b"\\n"
         for p, t in (("pos", b"YES"), ("neg", b"NO"))}
made = Provenance(stage="responses", key="later", inputs={}, settings={})
folder.commit("responses", files, {}, made)
"""


def test_the_first_of_two_machines_wins_and_the_second_gets_an_error(
    bucket: Bucket, one: Path, two: Path
) -> None:
    refresh(one)
    refresh(two)
    mine = commit(trait(one), FILES, "a")
    with pytest.raises(TraitvecError, match="another machine put responses"):
        commit(trait(two), OTHER, "b")
    assert trait(two).provenance("responses") == mine
    trait(two).fetch("responses")
    assert trait(two).is_here(mine)
    # Knowing of it, the second may take its place.
    yours = commit(trait(two), OTHER, "b")
    trait(one).refresh()
    assert trait(one).provenance("responses") == yours


def test_the_same_made_twice_is_the_first(bucket: Bucket, one: Path, two: Path) -> None:
    refresh(one)
    refresh(two)
    mine = commit(trait(one), FILES, "a")
    assert commit(trait(two), OTHER, "a") == mine


# -- what users write -----------------------------------------------------------------------------


def test_the_sensor_sees_a_definition_that_was_put_into_the_bucket(
    bucket: Bucket, one: Path, own_environment: None
) -> None:
    from traitvec_dagster.automation import build_sensor

    with SmallProject(one.parent) as project:
        project.set(auto_run=True)
        sensor = build_sensor(project.graph())

        def tick(cursor: str | None) -> dg.SensorResult:
            with dg.build_sensor_context(project.instance, cursor=cursor) as context:
                found = sensor(context)
            assert isinstance(found, dg.SensorResult)
            return found

        before = tick(None)
        put = json.dumps(demo_definition("verbosity")).encode()
        bucket.put("demo/verbosity/trait_definition.json", put)
        after = tick(before.cursor)
        assert [request.partition_key for request in after.run_requests or []] == ["verbosity"]
        assert "verbosity" in (after.dynamic_partitions_requests or [])[0].partition_keys


def test_what_is_written_here_is_put_and_what_is_written_there_is_fetched(
    bucket: Bucket, one: Path, two: Path
) -> None:
    refresh(one)
    refresh(two)
    scores = two / "demo/refusal/human_scores.csv"
    scores.write_bytes(b"question_id,human_trait_score\n")
    definition = json.dumps(demo_definition("verbosity")).encode()
    trait(two).definition_path.write_bytes(definition)
    refresh(two)
    assert bucket.get("demo/refusal/trait_definition.json") == definition
    refresh(one)
    assert trait(one).read_definition_bytes() == definition
    assert trait(one).human_scores() == scores.read_bytes()


def test_of_two_versions_the_bucket_has_the_one_that_stands(
    bucket: Bucket, one: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refresh(one)
    bucket.put("demo/experiment.yaml", b"model: embedded\nn_examples: 12\n")
    here = ExperimentFolder(one, "demo").settings_path
    here.write_bytes(b"model: embedded\nn_examples: 14\n")
    refresh(one)
    assert ExperimentFolder(one, "demo").settings().n_examples == 12
    assert here.with_name("experiment.yaml.mine").read_bytes().endswith(b"14\n")
    assert "kept as experiment.yaml.mine" in caplog.text


def test_a_definition_removed_from_the_bucket_leaves_the_list_and_is_kept(
    bucket: Bucket, one: Path, two: Path
) -> None:
    refresh(one)
    refresh(two)
    copy = working_copy(one, bucket.storage)
    commit(trait(one), FILES, "a")
    copy.remove(trait(one))
    assert not any(name.startswith("demo/refusal/") for name in bucket.names())
    refresh(two)
    assert ExperimentFolder(two, "demo").traits() == ["uncertainty"]
    assert (two / "demo/refusal/trait_definition.json.removed").is_file()
    refresh(two)
    assert not any(name.startswith("demo/refusal/") for name in bucket.names()), "not put again"


def test_another_bucket_removes_nothing(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(one)
    monkeypatch.setenv("TRAITVEC_STORAGE", f"{bucket.storage}/elsewhere")
    refresh(one)
    assert ExperimentFolder(one, "demo").traits() == ["refusal", "uncertainty"]
    assert "elsewhere/demo/refusal/trait_definition.json" in bucket.names()


@pytest.mark.parametrize(
    "name",
    [
        "../outside/trait_definition.json", "demo/../../outside/trait_definition.json",
        "demo/.ssh/trait_definition.json", "demo/UPPER/trait_definition.json",
        "demo/refusal/vectors/extra.json", "demo/refusal/../experiment.yaml", "demo//trait.json",
    ],
)  # fmt: skip
def test_objects_that_are_no_part_of_the_tree_are_left_where_they_are(
    bucket: Bucket, one: Path, name: str
) -> None:
    refresh(one)
    before = {path for path in one.parent.parent.rglob("*") if path.is_file()}
    bucket.put(name, b"{}")
    refresh(one)
    assert {path for path in one.parent.parent.rglob("*") if path.is_file()} == before


def test_metadata_cannot_name_a_file_elsewhere(bucket: Bucket, one: Path, two: Path) -> None:
    refresh(one)
    made = commit(trait(one), FILES, "a")
    hostile = made.model_copy(update={"files": {"../../escaped": made.files[min(FILES)]}})
    whole = json.dumps({"provenance": hostile.model_dump(mode="json")}).encode()
    bucket.put("demo/refusal/responses/generation_metadata.json", whole)
    trait(two).refresh()
    copy = working_copy(two, bucket.storage)
    zipped = next(name for name in bucket.names() if name.endswith(".zip"))
    from traitvec_core.storage.syncing.archives import archive_name

    bucket.put(archive_name(trait(two), hostile), bucket.get(zipped))
    with pytest.raises(TraitvecError, match="differs from the metadata"):
        copy.fetch(trait(two), hostile)
    assert not list(two.parent.rglob("escaped"))


# -- when something is missing or away ------------------------------------------------------------


def test_files_that_are_gone_are_made_again(bucket: Bucket, one: Path, two: Path) -> None:
    refresh(one)
    settings = ExperimentFolder(one, "demo").settings()
    make("responses", trait(one), settings)
    for name in bucket.names():
        if name.endswith(".zip"):
            bucket.delete(name)
    refresh(two)
    assert stage_states(trait(two), settings)["responses"] == "stale"
    assert not make("responses", trait(two), settings).is_reused
    trait(one).refresh()
    assert make("responses", trait(one), settings).is_reused


def test_a_bucket_that_comes_back_is_waited_for(
    bucket: Bucket, one: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refresh(one)
    bucket.server.stop()
    back = Timer(3.0, bucket.server.start)
    back.start()
    commit(trait(one), FILES, "a")
    back.join()
    assert caplog.text.count("cannot be reached") == 1
    assert "demo/refusal/responses/generation_metadata.json" in bucket.names()


def test_a_bucket_that_stays_away_is_one_line_and_the_next_run_puts_what_was_finished(
    bucket: Bucket, one: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_storage, "PATIENCE_S", 1.0)
    refresh(one)
    bucket.server.stop()
    try:
        with pytest.raises(TraitvecError, match="the next run here uploads it") as told:
            commit(trait(one), FILES, "a")
        assert "\n" not in str(told.value)
    finally:
        bucket.server.start()
    trait(one).refresh()
    trait(two).refresh()
    found = trait(two).provenance("responses")
    assert found is not None
    assert found.key == "a"


def test_a_bucket_that_is_not_there(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAITVEC_STORAGE", "s3://no-such-bucket/lab")
    with pytest.raises(TraitvecError, match="there is no bucket 'no-such-bucket'"):
        refresh(one)


@pytest.mark.parametrize(
    "address", ["http://x", "s3://", "s3://key:secret@bucket/x", "s3://bucket/../x", "s3://b u"]
)
def test_an_address_that_cannot_be_one(one: Path, own_environment: None, address: str) -> None:
    os.environ["TRAITVEC_STORAGE"] = address
    with pytest.raises(TraitvecError, match="must be s3://bucket") as told:
        refresh(one)
    assert "secret" not in str(told.value)


def test_no_credentials(bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("TRAITVEC_STORAGE", f"{bucket.storage}/anonymous")
    with pytest.raises(TraitvecError, match="there are no credentials"):
        refresh(one)


# -- what it costs --------------------------------------------------------------------------------


def test_200_traits_take_one_listing_and_nothing_twice(
    bucket: Bucket, one: Path, two: Path
) -> None:
    definition = json.dumps(demo_definition()).encode()
    for number in range(200):
        folder = trait(one, f"trait_{number}")
        folder.path.mkdir()
        folder.definition_path.write_bytes(definition)
    refresh(one)
    refresh(two)
    assert len(ExperimentFolder(two, "demo").traits()) == 202
    bucket.server.requests.clear()
    ExperimentFolder(two, "demo").refresh()
    assert len(bucket.server.requests) == bucket.server.count("list-type=2") == 1
    bucket.put("demo/trait_7/trait_definition.json", definition + b"\n")
    bucket.server.requests.clear()
    refresh(two)
    assert len(bucket.server.requests) == 2, "the listing, and what has changed"


def test_without_a_storage_nothing_of_it_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from traitvec_core.storage.folders import *; refresh('x');"
        "TraitFolder(__import__('pathlib').Path('x'), 'y').refresh();"
        "print([m for m in sys.modules if 's3fs' in m or 'boto' in m or 'working_copy' in m])"
    )
    bare = {k: v for k, v in os.environ.items() if k != "TRAITVEC_STORAGE"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=bare,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert found.stdout.strip() == "[]"
