"""The command as a user runs it: `main`, its exit code, its two streams."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from traitvec_dagster.cli.main import main


@dataclass(frozen=True)
class Finished:
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """The error stream, line by line; a traceback anywhere fails the test."""
        assert "Traceback" not in self.out + self.err
        return self.err.strip().splitlines()


Command = Callable[..., Finished]


@pytest.fixture(autouse=True)
def nothing_drawn(one_picture: None) -> None:
    """No test here looks at a plot."""


@pytest.fixture
def traitvec(
    own_environment: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run `traitvec …` in this process, in the folder `tmp_path/project`."""
    folder = tmp_path / "project"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    for name, value in (("COLUMNS", "200"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)

    def run(*arguments: str, dagster_home: Path | None = None) -> Finished:
        capsys.readouterr()
        # As in a separate process: nothing of the last command's project is inherited.
        for name in ("DAGSTER_HOME", "TRAITVEC_EXPERIMENTS"):
            os.environ.pop(name, None)
        if dagster_home is not None:
            os.environ["DAGSTER_HOME"] = str(dagster_home)
        monkeypatch.setattr(sys, "argv", ["traitvec", *arguments])
        code: int | str | None = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return Finished(code if isinstance(code, int) else int(bool(code)), *captured)

    return run
