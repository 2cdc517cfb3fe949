"""The command `traitvec`: puts the groups of commands together, and turns errors into one line."""

import io
import os
import sys
import traceback
from pathlib import Path

import typer

from traitvec_core.errors import TraitvecError
from traitvec_dagster.cli.check import check
from traitvec_dagster.cli.compare import atlas, compare
from traitvec_dagster.cli.console import err
from traitvec_dagster.cli.define import new_experiment, new_trait
from traitvec_dagster.cli.exchange import export, push
from traitvec_dagster.cli.help_text import command_help
from traitvec_dagster.cli.importing import import_persona_vectors
from traitvec_dagster.cli.judging import estimate, judgements
from traitvec_dagster.cli.monitor import monitor
from traitvec_dagster.cli.operate import doctor, gpus, remove_trait, ui
from traitvec_dagster.cli.rubric import rubric
from traitvec_dagster.cli.run import run
from traitvec_dagster.cli.scenarios import scenarios
from traitvec_dagster.cli.serve import serve_engine
from traitvec_dagster.cli.status import status
from traitvec_dagster.cli.terminal import complain, loud_warnings, print_error, restore_interrupts
from traitvec_dagster.cli.trial import try_
from traitvec_dagster.cli.trust import trust
from traitvec_dagster.cli.verify import verify

__all__ = ["app", "main"]

app = typer.Typer(
    name="traitvec",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Extract, validate and use trait vectors (persona vectors, steering vectors) of a language"
    " model.\n\nTo start: `traitvec new-experiment mine`, then `traitvec new-trait --experiment"
    " mine --trait sycophancy --example`, then `traitvec check --experiment mine` and `traitvec run"
    " --experiment mine --traits all`.",
)
app.command("new-experiment")(new_experiment)
app.command("new-trait")(new_trait)
app.command("scenarios")(scenarios)
app.command("check")(check)
app.command("trust")(trust)
app.command("estimate")(estimate)
app.command("try")(try_)
app.command("run")(run)
app.command("status")(status)
app.command("verify")(verify)
app.command("ui")(ui)
app.command("monitor")(monitor)
app.command("atlas")(atlas)
app.command("compare")(compare)
app.command("export")(export)
app.command("push")(push)
app.command("import-persona-vectors")(import_persona_vectors)
app.add_typer(judgements, name="judgements")
app.command("rubric")(rubric)
app.command("serve-engine")(serve_engine)
app.command("doctor")(doctor)
app.command("gpus")(gpus)
app.command("remove-trait")(remove_trait)
for group in (app, judgements):
    for command in group.registered_commands:
        if command.callback is not None:
            command.help = command_help(command.callback)

# As Typer exits after Ctrl-C.
_INTERRUPTED = 130


def main() -> None:
    """Run a command. Errors that a user can fix are printed as one line, without a traceback."""
    restore_interrupts()
    # Processes that this one starts must not import modules from the folder that it is called in.
    os.environ["PYTHONSAFEPATH"] = "1"
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 gets escapes instead of an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with loud_warnings():
            app()
    except TraitvecError as error:
        complain(error)
        sys.exit(1)
    except SystemExit as end:
        # Typer has no word for Ctrl-C.
        if end.code == _INTERRUPTED:
            err.print("interrupted; finished work is kept, run the same command to continue")
        raise
    except OSError as error:
        # For example a full disk or a read-only folder.
        print_error(_in_words(error))
        sys.exit(1)
    except Exception as error:  # noqa: BLE001
        if not _is_from_database(error):
            # A bug. Its message may quote anything, so that Python does not print it.
            err.print(traceback.format_exc().rstrip())
            sys.exit(1)
        # Dagster's own storage: a full disk, a read-only folder, a database that is down.
        home = os.environ.get("DAGSTER_HOME", "DAGSTER_HOME")
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        print_error(
            f"{home}: Dagster's database failed ({reason});"
            " fix that and run again, finished work is kept"
        )
        sys.exit(1)


def _in_words(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        from traitvec_core.storage.files import display_path

        path = display_path(Path(os.fsdecode(error.filename)))
        return f"{path}: a file is in the way of a folder; move it away and run again"
    return str(error)


def _is_from_database(error: Exception) -> bool:
    # Not imported here: an error of SQLAlchemy can only come from a process that has it loaded.
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    return sqlalchemy is not None and isinstance(error, sqlalchemy.DBAPIError)
