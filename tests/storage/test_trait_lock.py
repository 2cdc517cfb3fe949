"""Who works in a trait's folder, seen by a second process, with or without the same Dagster."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.projects import REPOSITORY, demo_definition, snapshot
from traitvec_core.errors import TraitvecError
from traitvec_core.stages.lock import stage_lock
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.removal import check_unused, remove_trait
from traitvec_core.storage.trait_lock import changing_trait, using_trait

HOLD = """
import sys
from pathlib import Path
from traitvec_core.stages.lock import stage_lock
from traitvec_core.storage.trait_lock import changing_trait, using_trait

path, how = Path(sys.argv[1]), sys.argv[2]
lock = {
    "run": lambda: using_trait(path, "run 1a2b3c4d"),
    "stage": lambda: stage_lock(path, "responses"),
    "removal": lambda: changing_trait(path, "its removal", "cannot be removed now"),
}[how]
with lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(trait: Path, how: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that works in a trait until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(trait), how],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(60)


@pytest.fixture
def trait(tmp_path: Path) -> TraitFolder:
    """A trait with a definition."""
    import json

    folder = ExperimentFolder(tmp_path / "experiments", "demo").trait("refusal")
    folder.path.mkdir(parents=True)
    folder.definition_path.write_text(json.dumps(demo_definition()))
    return folder


@pytest.mark.parametrize(
    ("how", "named"),
    [("run", "it is in use by run 1a2b3c4d, process"), ("stage", "responses is being made by")],
)
def test_a_trait_in_use_is_not_removed(trait: TraitFolder, how: str, named: str) -> None:
    before = snapshot(trait.path)
    with held(trait.path, how) as other:
        for refused in (
            lambda: remove_trait(trait),
            lambda: check_unused(trait.path),
            lambda: changing_trait(trait.path, "an import", "cannot be imported now").__enter__(),
        ):
            with pytest.raises(TraitvecError) as raised:
                refused()
            line = str(raised.value)
            assert named in line
            assert f"process {other.pid} on {socket.gethostname()}, since 2" in line
            assert "wait until that ends, or end it" in line
            assert len(line) < 240
            assert "\n" not in line
        assert snapshot(trait.path) == before
        # Others may work there too.
        with using_trait(trait.path, "run 5e6f"):
            pass
    remove_trait(trait)
    assert list(trait.path.parent.iterdir()) == []


def test_a_killed_process_keeps_nothing_from_being_removed(trait: TraitFolder) -> None:
    with held(trait.path, "run") as other:
        other.kill()
        other.wait(60)
        remove_trait(trait)
    assert not trait.path.exists()


def test_nobody_begins_in_a_trait_that_is_being_removed(trait: TraitFolder) -> None:
    with held(trait.path, "removal") as other:
        for begin in (
            lambda: using_trait(trait.path, "run 1").__enter__(),
            lambda: stage_lock(trait.path, "responses").__enter__(),
        ):
            with pytest.raises(TraitvecError, match="its removal, process") as raised:
                begin()
            assert f"process {other.pid}" in str(raised.value)


def test_a_removed_trait_is_not_made_anew_by_a_lock(trait: TraitFolder) -> None:
    remove_trait(trait)
    with pytest.raises(TraitvecError, match="its folder was removed"), using_trait(trait.path, "x"):
        pass
    assert not trait.path.exists()


def test_what_a_killed_removal_left_goes_with_the_next(trait: TraitFolder) -> None:
    leftover = trait.path.with_name(".removed-refusal-12ab34cd")
    leftover.mkdir()
    (leftover / "pos.csv").write_text("x")
    remove_trait(trait)
    assert list(trait.path.parent.iterdir()) == []


def test_one_that_has_ended_is_not_named(trait: TraitFolder) -> None:
    """Two may share the lock; the one that signed last has ended."""
    with held(trait.path, "run") as first:
        with held(trait.path, "run") as second:
            pass
        with pytest.raises(TraitvecError) as raised:
            check_unused(trait.path)
        assert str(second.pid) not in str(raised.value)
        assert "in use by another process" in str(raised.value)
        assert first.poll() is None


def test_a_lock_is_not_written_through_a_link(trait: TraitFolder, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (trait.path / ".locks").mkdir()
    (trait.path / ".locks" / "trait").symlink_to(precious)
    (trait.path / ".locks" / "responses").symlink_to(precious)
    for lock in (using_trait(trait.path, "run 1"), stage_lock(trait.path, "responses")):
        with pytest.raises(TraitvecError, match="is a link"), lock:
            pass
    with pytest.raises(TraitvecError, match="is a link"):
        remove_trait(trait)
    assert precious.read_text() == "mine"
