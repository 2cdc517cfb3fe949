"""Finished projects in which one file was mangled: every command answers in lines, none crashes."""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import changed, few, mangled
from tests.projects import SmallProject, draw_nothing
from traitvec_dagster.cli.main import main

pytestmark = pytest.mark.slow

COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("check", "--experiment", "demo"),
    ("estimate", "--experiment", "demo"),
    ("export", "--experiment", "demo", "--format", "safetensors", "--out", "x.safetensors"),
    ("export", "--experiment", "demo", "--format", "gguf", "--out", "gguf"),
)
# These start runs, and take a second.
SLOW = (
    ("run", "--experiment", "demo", "--trait", "refusal", "--select", "validation_report"),
    ("run", "--experiment", "demo", "--trait", "refusal"),
    ("atlas", "--experiment", "demo"),
    ("monitor", "--experiment", "demo", "--prompt", "Hi?", "--set", "sampling.max_new_tokens=2"),
)


@pytest.fixture(scope="module")
def project(
    finished_folder: Path, tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[Path]:
    """A copy of the finished project, in which the commands run."""
    folder = tmp_path_factory.mktemp("mangled") / "project"
    shutil.copytree(finished_folder, folder)
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield folder
    os.chdir(before)


def run(arguments: tuple[str, ...]) -> tuple[int, str]:
    """Run a command in this process; returns its exit code and all that it printed."""
    for name in ("DAGSTER_HOME", "TRAITVEC_EXPERIMENTS"):
        os.environ.pop(name, None)
    printed, argv, sys.argv = io.StringIO(), sys.argv, ["traitvec", *arguments]
    code: object = 0
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            main()
    except SystemExit as exit_:
        code = exit_.code
    finally:
        sys.argv = argv
    return int(bool(code)), printed.getvalue()


def files(project: Path) -> list[str]:
    """The files of one trait and its experiment that hold text."""
    experiment = project / "experiments" / "demo"
    found = [*experiment.glob("*.yaml"), *(experiment / "refusal").rglob("*")]
    return sorted(
        str(path.relative_to(project))
        for path in found
        if path.suffix in {".json", ".csv", ".yaml"}
        and path.is_file()
        # One of a hundred is enough.
        and not (path.name.endswith("_metadata.json") and "layer" in path.name[:-20])
    )


@st.composite
def damage(draw: st.DrawFn, project: Path) -> tuple[Path, bytes]:
    path = project / draw(st.sampled_from(files(project)))
    data = path.read_bytes()
    if path.suffix == ".json" and draw(st.booleans()):
        return path, json.dumps(draw(changed(json.loads(data)))).encode()
    return path, draw(mangled(data))


@pytest.mark.parametrize("commands", [COMMANDS, SLOW], ids=["reading", "running"])
def test_a_mangled_file_is_no_crash(project: Path, commands: tuple[tuple[str, ...], ...]) -> None:
    keep = project.parent / "keep"
    shutil.rmtree(keep, ignore_errors=True)
    shutil.copytree(project / "experiments", keep)

    @few(12 if commands is COMMANDS else 4)
    @given(st.data())
    def example(data: st.DataObject) -> None:
        path, content = data.draw(damage(project))
        command = data.draw(st.sampled_from(commands))
        path.write_bytes(content)
        try:
            _, printed = run(command)
        finally:
            shutil.rmtree(project / "experiments")
            shutil.copytree(keep, project / "experiments", symlinks=True)
        assert "Traceback" not in printed, (path.name, command, printed[-1500:])
        assert "bug" not in printed, (path.name, command, printed[-1500:])
        longest = max(map(len, printed.splitlines()), default=0)
        assert longest < 3000 or "--json" in command, (path.name, command, longest)

    example()


def test_the_commands_work_when_nothing_is_mangled(project: Path) -> None:
    with SmallProject(project):
        for command in (*COMMANDS, *SLOW):
            code, printed = run(command)
            assert code == 0, (command, printed)
