"""Nothing outside the tree is read, written, truncated or deleted through a link in the tree."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.conftest import Command, traitvec  # noqa: F401
from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment
from traitvec_core.errors import TraitvecError
from traitvec_core.judging import JudgementStore
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.stages.make import make, stage_states
from traitvec_core.stages.trait_atlas import make_atlas
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.tree import open_in_place, read_inside, remove_inside, write_inside

LONG_AGO_S = 10_000


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder, hidden files too, with times of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def put_outside(path: Path, outside: Path) -> Path:
    """Move a file or folder out of the tree, and put a link in its place."""
    outside.mkdir(parents=True, exist_ok=True)
    target = outside / path.name
    path.rename(target)
    path.symlink_to(target)
    if target.is_dir():
        # What a clean-up would take for a leftover, and what a commit would take for its own.
        leftover = target / ".pos.csv.0badcafe.tmp"
        leftover.write_text("looks like a leftover")
        os.utime(leftover, (LONG_AGO_S, LONG_AGO_S))
        (target / ".responses-0.jsonl").write_text("{}\n")
    return target


@pytest.fixture
def stale(finished: SmallProject) -> SmallProject:
    """The finished project with a changed question: every stage has to be made again."""
    finished.set(**FEW_VECTORS)
    definition = demo_definition()
    definition["questions"][0] = "What is a lantern?"
    finished.define("refusal", definition)
    return finished


@pytest.fixture
def patience() -> Iterator[None]:
    """Reading a pipe would never end."""
    signal.alarm(300)
    yield
    signal.alarm(0)


# -- a whole run ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("is_empty", [True, False])
def test_every_file_of_a_run_may_be_a_link(
    stale: SmallProject, tmp_path: Path, is_empty: bool
) -> None:
    """Results are replaced by new files; what the links led to stays as it was."""
    trait, outside = stale.trait("refusal"), tmp_path / "outside"
    files = [path for path in trait.path.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        if path.name != "trait_definition.json" and path.parent.name != ".locks":
            target = put_outside(path, outside / str(number))
            if is_empty:
                target.write_bytes(b"")
    assert {METADATA_FILE[stage] for stage in STAGES[1:]} <= {
        str(path.relative_to(trait.path)) for path in files
    }
    before = contents(outside)
    assert set(stale.states("refusal").values()) <= {"fresh", "missing"}
    assert stale.run("refusal").is_success
    assert contents(outside) == before
    assert set(stale.states("refusal").values()) == {"fresh"}


FOLDERS: dict[str, Stage] = {
    **{METADATA_FILE[stage].partition("/")[0]: stage for stage in STAGES[1:]},
    ".locks": "responses",
    "": "responses",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_leads_out_of_the_tree_is_refused_before_any_work(
    traitvec: Command,  # noqa: F811
    stale: SmallProject, tmp_path: Path, name: str,
) -> None:  # fmt: skip
    trait = stale.trait("refusal")
    target = put_outside(trait.path / name, tmp_path / "outside")
    before = contents(tmp_path / "outside")
    with pytest.raises(TraitvecError) as error:
        make(FOLDERS[name], trait, stale.settings())
    shown = str((trait.path / name).relative_to(tmp_path / "project"))
    assert len(str(error.value).splitlines()) == 1
    assert f"{shown} is a link to {target}" in str(error.value)
    assert "put a copy in its place" in str(error.value)
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal", "--select", "*")
    assert done.code == 1
    assert f"is a link to {target}" in done.out + done.err
    for command in (["status"], ["verify"], ["check", "--experiment", "demo"]):
        assert "Traceback" not in traitvec(*command).err
    assert contents(tmp_path / "outside") == before


def test_a_linked_cache_is_not_used(finished: SmallProject, tmp_path: Path) -> None:
    trait = finished.trait("refusal")
    stage_states(trait, finished.settings())
    (trait.path / ".cache").mkdir(exist_ok=True)
    put_outside(trait.path / ".cache", tmp_path / "outside")
    before = contents(tmp_path / "outside")
    assert set(finished.states("refusal").values()) == {"fresh"}
    assert contents(tmp_path / "outside") == before


# -- files that are written in place ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["symbolic", "hard", "in the tree", "pipe"])
@pytest.mark.parametrize("name", [".locks/responses", "journal"])
def test_locks_and_journals_are_not_written_through_links(
    stale: SmallProject, tmp_path: Path, kind: str, name: str
) -> None:
    trait, precious = stale.trait("refusal"), tmp_path / "precious.txt"
    if kind == "in the tree":
        precious = trait.path.parent / "uncertainty/trait_definition.json"
    else:
        precious.write_text('{"mine": 1}\n')
    before = precious.read_bytes()
    path = trait.journal("responses", "0" * 64).path if name == "journal" else trait.path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "hard":
        path.hardlink_to(precious)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(precious)
    journal, chosen = trait.journal("responses", "0" * 64), stale.settings()
    with pytest.raises(TraitvecError) as error:
        journal.append([{}]) if name == "journal" else make("responses", trait, chosen)
    assert len(str(error.value).splitlines()) == 1
    assert path.name in str(error.value)
    assert precious.read_bytes() == before


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("is_hard", [True, False])
def test_the_store_of_judgements_is_no_link(tmp_path: Path, suffix: str, is_hard: bool) -> None:
    root, precious = tmp_path / "experiments", tmp_path / "places.sqlite"
    root.mkdir()
    with sqlite3.connect(precious) as database:
        database.execute("create table mine (x)")
    database.close()
    before = precious.read_bytes()
    link = root / f"{JUDGEMENTS_FILE}{suffix}"
    link.hardlink_to(precious) if is_hard else link.symlink_to(precious)
    with pytest.raises(TraitvecError, match=r"is a (hard )?link"):
        JudgementStore(root / JUDGEMENTS_FILE)
    assert precious.read_bytes() == before


# -- other writers ----------------------------------------------------------------------------


def test_an_atlas_is_not_written_through_a_link(finished: SmallProject, tmp_path: Path) -> None:
    folder = ExperimentFolder(finished.project.experiments, "demo")
    make_atlas(folder, finished.settings())
    put_outside(folder.path / "atlas", tmp_path / "outside")
    before = contents(tmp_path / "outside")
    with pytest.raises(TraitvecError, match="atlas is a link to"):
        make_atlas(folder, finished.settings())
    assert contents(tmp_path / "outside") == before


def test_a_definition_behind_a_link_is_not_replaced(
    traitvec: Command,  # noqa: F811
    empty: SmallProject, tmp_path: Path,
) -> None:  # fmt: skip
    trait = empty.trait("refusal")
    target = put_outside(trait.definition_path, tmp_path / "outside")
    before = target.read_bytes()
    done = traitvec("new-trait", "--experiment", "demo", "--trait", "refusal", "--force")
    assert done.code == 0
    assert not trait.definition_path.is_symlink()
    assert target.read_bytes() == before


@pytest.mark.parametrize("name", ["trait_definition.json", "experiment.yaml"])
@pytest.mark.parametrize("target", ["/etc/passwd", "pipe", "absent"])
def test_what_a_user_writes_is_not_read_from_outside(
    traitvec: Command,  # noqa: F811
    empty: SmallProject, tmp_path: Path, name: str, target: str, patience: None,
) -> None:  # fmt: skip
    folder = empty.trait("refusal").path.parent
    path = folder / name if name.endswith("yaml") else folder / "refusal" / name
    path.unlink()
    os.mkfifo(tmp_path / "pipe")
    path.symlink_to(tmp_path / target)
    for command in (["check", "--experiment", "demo"], ["status"]):
        done = traitvec(*command)
        assert "root:" not in done.out + done.err
        assert "Traceback" not in done.out + done.err
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal")
    assert done.code == 1


def test_a_result_that_is_a_pipe_ends_nothing(finished: SmallProject, patience: None) -> None:
    trait = finished.trait("refusal")
    for name in ("vectors/manifest.json", "responses/pos.csv"):
        (trait.path / name).unlink()
        os.mkfifo(trait.path / name)
    states = finished.states("refusal")
    assert states["vectors"] == "missing"
    assert states["judged_responses"] == "stale"


# -- what may be a link -----------------------------------------------------------------------


def test_the_folder_of_an_experiment_or_of_all_may_be_on_another_disk(
    empty: SmallProject, tmp_path: Path
) -> None:
    empty.set(**FEW_VECTORS)
    experiments = empty.project.experiments
    for path in (experiments / "demo", experiments):
        disk = tmp_path / "disk"
        disk.mkdir(exist_ok=True)
        path.rename(disk / path.name)
        path.symlink_to(disk / path.name)
    folder = ExperimentFolder(experiments, "demo")
    for stage in STAGES[1:]:
        make(stage, folder.trait("refusal"), folder.settings())
    assert set(stage_states(folder.trait("refusal"), folder.settings()).values()) == {"fresh"}
    assert (tmp_path / "disk/demo/refusal/validation/report.html").is_file()


def test_a_definition_may_be_shared_inside_the_tree(empty: SmallProject) -> None:
    write_experiment(empty.folder, "other", [])
    shared = empty.trait("shared", "other")
    shared.path.mkdir()
    shared.definition_path.symlink_to("../../demo/refusal/trait_definition.json")
    assert shared.definition() == empty.trait("refusal").definition()


# -- any tree of links ------------------------------------------------------------------------

_NAMES = ("a", "b", "c")
_PATH = st.lists(st.sampled_from((*_NAMES, "..", ".", "")), min_size=1, max_size=5).map("/".join)
_LINK = st.tuples(
    st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map("/".join),
    st.sampled_from(("/outside", "/outside/a", "/outside/new", "/outside/file", "/tree",
                     "/tree/exp/a", "/tree/other", "..", "../..", "b")),
)  # fmt: skip


@settings(max_examples=300)
@given(links=st.lists(_LINK, max_size=4), name=_PATH | _PATH.map(lambda path: f"/outside/{path}"))
def test_no_tree_of_links_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, str]], name: str
) -> None:
    base = tmp_path_factory.mktemp("links")
    home, outside, other = base / "tree/exp", base / "outside", base / "tree/other"
    for folder in (home, outside / "a", other):
        folder.mkdir(parents=True)
        (folder / "file").write_text("mine")
        (folder / "c").write_text("mine")
    for path, target in links:
        with suppress(OSError):
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            aim = f"{base}{target}" if target.startswith("/") else target
            (home / path).symlink_to(aim)
    name = f"{base}{name}" if name.startswith("/outside") else name
    before = contents(outside), contents(other)
    for act in (
        lambda: write_inside(home, name, b"new"),
        lambda: open_in_place(home, name).close(),
        lambda: _append(home, name),
        lambda: remove_inside(home, name),
    ):
        with suppress(TraitvecError, OSError):
            act()
    assert (contents(outside), contents(other)) == before
    (outside / "file").write_text("secret")
    with suppress(TraitvecError, OSError):
        assert read_inside(home, name) != b"secret"


def _append(home: Path, name: str) -> None:
    with open_in_place(home, name) as file:
        file.truncate(0)
        file.write(b"new")
