"""A finished trait to export, and the three commands."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.cli.exchange import export, push
from traitvec_dagster.cli.importing import import_persona_vectors

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "persona_vectors"


@pytest.fixture
def demo(finished_folder: Path) -> ExperimentFolder:
    """An experiment with two traits, four methods and layers 1 to 5; it is only read."""
    return ExperimentFolder(finished_folder / "experiments", "demo")


@dataclass(frozen=True)
class Finished:
    """What a command printed; `error` is the one line that `traitvec` would print."""

    out: str
    error: str | None
    code: int = 0


Command = Callable[..., Finished]


@pytest.fixture
def command(own_environment: None, finished_folder: Path) -> Command:
    """Run one of the commands over the finished project, or over `root`."""
    app = typer.Typer()
    app.command("export")(export)
    app.command("push")(push)
    app.command("import-persona-vectors")(import_persona_vectors)

    def run(*arguments: object, root: Path = finished_folder / "experiments") -> Finished:
        words = [*map(str, arguments), "--experiments-dir", str(root)]
        result = CliRunner().invoke(app, words, env={"COLUMNS": "300", "TERM": "dumb"})
        if isinstance(result.exception, TraitvecError):
            return Finished(result.output, str(result.exception), 1)
        assert result.exit_code in {0, 1}, (result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Finished(result.output, None, result.exit_code)

    return run
