"""`traitvec verify` names everything that is not as its stage wrote it, and writes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject, edit_metadata
from traitvec_core.stages.trait_atlas import make_atlas
from traitvec_core.storage.file_hashes import FileHashes
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.trait_cache import write_cache


@pytest.fixture
def experiment(finished: SmallProject) -> Path:
    """The finished experiment with its atlas."""
    folder = ExperimentFolder(finished.project.experiments, "demo")
    make_atlas(folder, folder.settings())
    return folder.path


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_finished_project_is_as_it_was_written(
    traitvec: Command, experiment: Path, tmp_path: Path
) -> None:
    before = everything(tmp_path)
    done = traitvec("verify")
    assert done.code == 0, done.out
    assert "files are as their stages wrote them" in done.out
    assert done.err == ""
    assert everything(tmp_path) == before


def test_each_kind_of_change_is_named_with_its_trait_and_stage(
    traitvec: Command, experiment: Path, tmp_path: Path
) -> None:
    refusal, other = experiment / "refusal", experiment / "uncertainty"
    manifest = refusal / "vectors/manifest.json"
    record = json.loads(manifest.read_bytes())
    record["recommended"]["coefficient"] = 99
    manifest.write_text(json.dumps(record))
    (refusal / "vectors/mean_diff_layer3.pt").write_bytes(b"not a tensor")
    (refusal / "responses/neg.csv").unlink()
    (refusal / "vectors/mean_diff_layer99.pt").write_bytes(b"planted")
    (refusal / "steering/evaluation.json").write_text("{")
    shutil.rmtree(other / "validation")
    (other / "activations/metadata.json").unlink()
    (experiment / "atlas/atlas.html").write_text("edited")
    before = everything(tmp_path)
    done = traitvec("verify", "--json")
    assert done.code == 1
    assert everything(tmp_path) == before
    found = {
        (row["trait"], row["stage"], row["file"], row["problem"])
        for row in json.loads(done.out)["demo"]
    }
    assert found == {
        ("refusal", "vectors", "vectors/manifest.json", "changed"),
        ("refusal", "vectors", "vectors/mean_diff_layer3.pt", "changed"),
        ("refusal", "vectors", "vectors/mean_diff_layer99.pt", "extra"),
        ("refusal", "judged_responses", "responses/neg.csv", "missing"),
        ("refusal", "steering_evaluation", "steering/evaluation.json", "damaged"),
        ("uncertainty", "activations", "activations/metadata.json", "missing"),
        ("", "trait_atlas", "atlas/atlas.html", "changed"),
    }
    table = traitvec("verify")
    assert table.code == 1
    for _, stage, file, problem in found:
        assert any(
            stage in line and file in line and problem in line for line in table.out.splitlines()
        )
    assert "2 missing" in table.out
    one = traitvec("verify", "--experiment", "demo", "--trait", "uncertainty")
    assert one.code == 1
    assert "refusal" not in one.out


def test_a_stored_hash_is_not_trusted(traitvec: Command, experiment: Path) -> None:
    """The cache of hashes is beside the files, so who edits these can edit it, too."""
    path = experiment / "refusal/vectors/mean_diff_layer3.pt"
    recorded = FileHashes(experiment / "refusal").of("vectors/mean_diff_layer3.pt")
    path.write_bytes(b"edited")
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    rows = {"vectors/mean_diff_layer3.pt": [*stamp, recorded]}
    write_cache(experiment / "refusal", "hashes", rows)
    done = traitvec("verify")
    assert done.code == 1
    assert "mean_diff_layer3.pt" in done.out


def test_results_of_earlier_versions_are_counted_and_not_wrong(
    traitvec: Command, experiment: Path
) -> None:
    edit_metadata(experiment / "refusal/vectors/manifest.json", lambda record: None)
    done = traitvec("verify")
    assert done.code == 0
    assert "metadata files from before traitvec 0.9, without a hash: 1" in done.out


def test_files_that_are_only_in_the_storage_are_not_missing(
    traitvec: Command, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (experiment / "refusal/activations").glob("*.pt"):
        path.unlink()
    assert traitvec("verify").code == 1
    monkeypatch.setenv("TRAITVEC_STORAGE", "s3://nowhere/experiments")
    done = traitvec("verify")
    assert done.code == 0, done.out
    assert "stages whose files are in the storage only, and were not read: 1" in done.out


def test_what_cannot_be_verified_is_one_line(traitvec: Command, experiment: Path) -> None:
    for arguments, problem in (
        (["--experiment", "absent"], "there is no experiment 'absent'"),
        (["--experiment", "demo", "--trait", "absent"], "demo has no trait 'absent'"),
        (["--trait", "refusal"], "--trait needs --experiment"),
    ):
        done = traitvec("verify", *arguments)
        assert done.code == 1
        (line,) = done.error_lines
        assert problem in line
