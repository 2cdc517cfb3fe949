"""A full disk and one that cannot be written, for the tree and for Dagster's history."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command, traitvec  # noqa: F401
from tests.faults.unfinished import ORDER, copy_unfinished
from tests.projects import FEW_VECTORS, SmallProject, results, write_experiment
from traitvec_core.stage_names import Stage

pytestmark = pytest.mark.services

_PAGE = 4096


class Disk:
    """A small disk in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder],
            check=True, capture_output=True,
        )  # fmt: skip

    def leave(self, pages: int) -> None:
        """Fill it until that many pages are free."""
        free = os.statvfs(self.folder)
        with (self.folder / "filler").open("wb") as file:
            for _ in range(free.f_bavail - pages):
                file.write(bytes(_PAGE))

    def empty(self) -> None:
        """Make room."""
        (self.folder / "filler").unlink()

    def set(self, option: str) -> None:
        """Mount it again, `ro` or `rw`."""
        subprocess.run(["mount", "-o", f"remount,{option}", self.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """Make disks under a name, where this user may."""
    made: list[Disk] = []

    def make(name: str) -> Disk:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            made.append(Disk(tmp_path / name))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this user may not mount a disk: {error}")
        return made[-1]

    yield make
    for one in made:
        subprocess.run(["umount", "-l", one.folder], check=True)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, new_instance: Path, own_module_environment: None
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(new_instance, folder / ".dagster")
    write_experiment(folder, "demo", ["refusal"], FEW_VECTORS)
    with SmallProject(folder) as project:
        assert project.run("refusal").is_success
    return folder


# Pages that are left: so many that a stage with several files has written some of them.
@pytest.mark.parametrize(
    ("stage", "pages"),
    [("responses", 4), ("judged_responses", 3), ("activations", 4), ("vectors", 3),
     ("steering_evaluation", 0), ("validation_report", 4)],
)  # fmt: skip
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    disk: Callable[[str], Disk], undisturbed: Path, tmp_path: Path, own_environment: None,
    one_picture: None, stage: Stage, pages: int,
) -> None:  # fmt: skip
    small, home = disk("small"), tmp_path / "home"
    shutil.copytree(undisturbed / ".dagster", home)
    os.environ["DAGSTER_HOME"] = str(home)
    copy_unfinished(small.folder, undisturbed, stage)
    shutil.rmtree(small.folder / ".dagster")
    trait = small.folder / "experiments/demo/refusal"
    with SmallProject(small.folder) as project:
        small.leave(pages)
        failed = project.run("refusal")
        assert not failed.is_success
        (problem,) = failed.problems
        # The store of judgements says what SQLite says.
        assert "No space left on device" in problem or "disk" in problem
        assert "bug" not in problem
        assert "\n" not in problem
        before = ORDER[: ORDER.index(stage)]
        assert set(before) <= set(failed.reused)
        # What is there of it counts for nothing.
        assert project.states("refusal")[stage] == "missing"
        small.empty()
        again = project.run("refusal")
        assert again.is_good, again.problems
        assert set(before) <= set(again.reused)
        assert set(project.states("refusal").values()) == {"fresh"}
    assert results(trait) == results(undisturbed / "experiments/demo/refusal")
    assert not list(trait.rglob(".*.tmp"))
    assert not list(trait.rglob(".*.jsonl"))


def test_a_tree_that_cannot_be_written_can_be_read(
    disk: Callable[[str], Disk], undisturbed: Path, tmp_path: Path, own_environment: None,
    one_picture: None,
) -> None:  # fmt: skip
    small, home = disk("small"), tmp_path / "home"
    shutil.copytree(undisturbed / ".dagster", home)
    os.environ["DAGSTER_HOME"] = str(home)
    shutil.copytree(undisturbed / "experiments", small.folder / "experiments", dirs_exist_ok=True)
    with SmallProject(small.folder) as project:
        small.set("ro")
        # Nothing is to be made, and so nothing is written.
        done = project.run("refusal")
        assert done.is_good, done.problems
        assert done.reused == ORDER
        failed = project.run("refusal", n_examples=9)
        assert not failed.is_success
        (problem,) = failed.problems
        assert "Read-only file system" in problem
        assert "experiments/demo/refusal" in problem
        assert "bug" not in problem
        small.set("rw")
        assert project.run("refusal", n_examples=9).is_good


def test_a_full_disk_under_dagsters_history_is_one_line(
    disk: Callable[[str], Disk],
    traitvec: Command,  # noqa: F811
    new_instance: Path, tmp_path: Path,
) -> None:  # fmt: skip
    folder = tmp_path / "project"
    home = disk("project/.dagster")
    write_experiment(folder, "demo", ["refusal"], FEW_VECTORS)
    shutil.copytree(new_instance, home.folder, dirs_exist_ok=True)
    home.leave(0)
    failed = traitvec("run", "--experiment", "demo", "--trait", "refusal")
    assert failed.code == 1
    assert len(failed.error_lines) == 1, failed.err
    assert ".dagster" in failed.err
    home.empty()
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal")
    assert done.code == 0, done.err
