"""`traitvec remove-trait`, `traitvec gpus`, and the first commands in a project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject, snapshot, write_experiment
from traitvec_dagster.runs.headless import definitions_of


@pytest.fixture
def project(traitvec: Command) -> Path:
    """The folder that commands work in, with an experiment."""
    write_experiment(Path.cwd(), "demo", ["refusal", "uncertainty"])
    return Path.cwd()


def partitions(project: Path, add: list[str] | None = None) -> set[str]:
    with SmallProject(project) as small:
        if add:
            small.instance.add_dynamic_partitions("traits/demo", add)
        return set(small.instance.get_dynamic_partitions("traits/demo"))


def test_a_trait_goes_with_its_folder_and_partition(
    traitvec: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions(project, ["refusal", "uncertainty"])
    folder = project / "experiments/demo/refusal"
    (folder / "vectors").mkdir()
    (folder / "vectors/probe_layer3.pt").write_bytes(b"x" * 2_000_000)
    command = ("remove-trait", "--experiment", "demo", "--trait", "refusal")
    # Nobody answers, or says no.
    for answer in ("", "n\n"):
        monkeypatch.setattr("sys.stdin", _stdin(answer))
        done = traitvec(*command)
        assert done.code == 1
        assert folder.is_dir()
        assert "2 files, 2.0 MB" in done.out
    assert partitions(project) == {"refusal", "uncertainty"}
    monkeypatch.setattr("sys.stdin", _stdin("y\n"))
    assert traitvec(*command).code == 0
    assert not folder.exists()
    assert partitions(project) == {"uncertainty"}
    assert (project / "experiments/demo/uncertainty/trait_definition.json").exists()
    again = traitvec(*command, "--yes")
    assert again.code == 1
    assert again.error_lines == [
        "error: experiments/demo has no trait 'refusal'; its traits: uncertainty"
    ]


def test_a_partition_without_a_folder_goes_too(traitvec: Command, project: Path) -> None:
    hostile = ["../../escaped", "..", "/etc", "gone"]
    partitions(project, hostile)
    before = snapshot(project / "experiments")
    for name in hostile:
        done = traitvec("remove-trait", "--experiment", "demo", "--trait", name, "--yes")
        assert done.code == 0, done.err
    assert partitions(project) == set()
    assert snapshot(project / "experiments") == before


@pytest.mark.parametrize("name", ["../uncertainty", "..", ".", "", "/etc", "refusal/.."])
def test_a_hostile_name_deletes_nothing(traitvec: Command, project: Path, name: str) -> None:
    before = snapshot(project)
    for experiment, trait in (("demo", name), (name, "refusal")):
        done = traitvec("remove-trait", "--experiment", experiment, "--trait", trait, "--yes")
        assert done.code == 1
        assert len(done.error_lines) == 1
    after = snapshot(project)
    assert {k: v for k, v in after.items() if not k.startswith(".dagster")} == before


def test_a_link_goes_and_not_what_it_leads_to(traitvec: Command, project: Path) -> None:
    elsewhere = project / "elsewhere"
    (project / "experiments/demo/refusal").rename(elsewhere)
    (project / "experiments/demo/refusal").symlink_to(elsewhere)
    done = traitvec("remove-trait", "--experiment", "demo", "--trait", "refusal", "--yes")
    assert done.code == 0, done.err
    assert (elsewhere / "trait_definition.json").exists()
    assert not (project / "experiments/demo/refusal").is_symlink()


def test_a_trait_that_runs_is_not_removed(traitvec: Command, project: Path) -> None:
    with SmallProject(project) as small:
        small.instance.add_dynamic_partitions("traits/demo", ["refusal"])
        small.instance.create_run_for_job(
            definitions_of(small.project).resolve_job_def(small.graph().job),
            tags={"dagster/partition": "refusal"},
        )
    done = traitvec("remove-trait", "--experiment", "demo", "--trait", "refusal", "--yes")
    assert done.error_lines == [
        "error: refusal is being run; wait for the run to finish, or cancel it"
    ]
    assert (project / "experiments/demo/refusal").is_dir()


def test_an_experiment_that_cannot_be_read_does_not_hide_the_others(
    traitvec: Command, project: Path
) -> None:
    (project / "experiments" / "broken").mkdir()
    (project / "experiments" / "broken" / "experiment.yaml").write_text("model: [\n")
    done = traitvec("status", "--json")
    assert done.code == 1
    (line,) = done.error_lines
    assert "experiments/broken/experiment.yaml: is not valid YAML" in line
    assert list(json.loads(done.out)) == ["demo"]


def test_gpus_are_listed_with_who_has_them(
    traitvec: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(project))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("TRAITVEC_GPUS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = traitvec("gpus")
    assert "cpu: free" in done.out
    assert "share the CPU" in done.out
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("TRAITVEC_GPUS", "left right 2 3 4")
    with _locked(project / f"traitvec-{os.getuid()}/gpu-left.lock"):
        done = traitvec("gpus")
    assert "left: demo/refusal, run 1234 (process 5, since now)" in done.out
    assert "right: free" in done.out
    assert "max_concurrent_runs and the pools' default_limit to 10 or more" in done.out
    assert "left: free" in traitvec("gpus").out
    monkeypatch.setenv("TRAITVEC_GPUS", "")
    assert "switched off" in traitvec("gpus").out
    monkeypatch.setenv("TRAITVEC_GPUS", "9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert "names no GPU of CUDA_VISIBLE_DEVICES" in traitvec("gpus").error_lines[0]


def _stdin(text: str) -> object:
    import io

    return io.StringIO(text)


class _locked:
    """A lock that another process would hold."""

    def __init__(self, path: Path) -> None:
        import fcntl

        path.parent.mkdir(exist_ok=True)
        self.file = path.open("w")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        json.dump({"pid": 5, "owner": "demo/refusal, run 1234", "since": "now"}, self.file)
        self.file.flush()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.file.close()


def test_ctrl_c_works_when_a_script_starts_it_in_the_background() -> None:
    code = (
        "import signal; from traitvec_dagster.cli.terminal import restore_interrupts;"
        " restore_interrupts();"
        "print(signal.getsignal(signal.SIGINT).__name__)"
    )
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, code],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "default_int_handler"


FIRST_COMMAND = """
import sys
from pathlib import Path
from traitvec_dagster.project import Project
print(Project(Path(sys.argv[1])).instance().get_runs_count())
"""


@pytest.mark.slow
def test_first_commands_at_once_share_a_new_instance(tmp_path: Path, own_environment: None) -> None:
    (tmp_path / "experiments").mkdir()
    command = [sys.executable, "-c", FIRST_COMMAND, str(tmp_path / "experiments")]
    commands = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for one in commands:
        said, problem = one.communicate()
        assert (one.returncode, said) == (0, "0\n"), problem
