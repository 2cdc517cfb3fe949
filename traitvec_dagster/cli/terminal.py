"""What all commands share: consoles, common options, and how options are read."""

import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from traitvec_core.errors import DefinitionError, TraitvecError, TraitvecWarning
from traitvec_core.storage.vector_verdict import VERDICT_NAMES

if TYPE_CHECKING:
    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.storage.folders import ExperimentFolder
    from traitvec_core.storage.manifests import VectorVerdict
    from traitvec_dagster.project import Project

__all__ = [
    "ExperimentName",
    "Root",
    "chosen_traits",
    "complain",
    "err",
    "experiment_folder",
    "loud_warnings",
    "note_retirement",
    "out",
    "print_notes",
    "read_layers",
    "read_overrides",
    "restore_interrupts",
    "traits_with_vectors",
    "verdict_mark",
]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
if not out.is_terminal:
    # In a log file, tables need no wrapping.
    out = Console(soft_wrap=True, width=120)

_VERDICT_STYLES: dict["VectorVerdict | None", str] = {
    "usable": "green", "with_care": "yellow", "not_usable": "bold red", None: "dim",
}  # fmt: skip

Root = Annotated[
    Path | None,
    typer.Option(
        "--experiments-dir",
        help="Folder that holds the experiments. Default: $TRAITVEC_EXPERIMENTS, else"
        " ./experiments.",
    ),
]
ExperimentName = Annotated[str, typer.Option("--experiment", help="Name of the experiment.")]


def experiment_folder(
    project: "Project", name: str, *, is_refreshed: bool = True
) -> "ExperimentFolder":
    """Return an experiment's folder.

    Args:
        project: The project.
        name: The experiment's name.
        is_refreshed: Whether to sync it with the storage first, if there is one.

    Raises:
        TraitvecError: If there is no such experiment.
    """
    from traitvec_core.storage.files import list_experiments
    from traitvec_core.storage.folders import ExperimentFolder

    folder = ExperimentFolder(project.experiments, name)
    if is_refreshed:
        folder.refresh()
    if not folder.path.is_dir():
        names = list_experiments(project.experiments)
        known = f"there are: {', '.join(names)}" if names else "there are none yet"
        raise TraitvecError(
            f"there is no experiment {name!r} under {project.experiments} ({known});"
            f" `traitvec new-experiment {name}` creates it"
        )
    return folder


def restore_interrupts() -> None:
    """Let Ctrl-C and `kill` end this process, even as a background job of a script.

    For background jobs the shell ignores SIGINT. Dagster handles `kill` like Ctrl-C, so this
    process and its children would ignore both.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def chosen_traits(folder: "ExperimentFolder", text: str | None) -> list[str]:
    """Read `--traits`: one trait, several with commas, or `all`.

    Raises:
        TraitvecError: If none is given, or one has no definition.
    """
    from traitvec_core.storage.files import display_path

    existing = folder.traits()
    if text is None:
        raise TraitvecError(
            "no trait given; use --trait NAME, --traits a,b,c or --traits all"
            + (f" (there are: {', '.join(existing[:20])})" if existing else "")
        )
    if text.strip() == "all":
        if not existing:
            raise TraitvecError(
                f"{display_path(folder.path)} has no trait; create one with `traitvec new-trait"
                f" --experiment {folder.name} --trait NAME`"
            )
        return existing
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        folder.trait(name).read_definition_bytes()
    if not names:
        raise TraitvecError("--trait is empty; give a name, several (a,b,c), or 'all'")
    return names


def traits_with_vectors(folder: "ExperimentFolder", text: str) -> list[str]:
    """Read `--traits` like `chosen_traits`; of `all`, take those that have vectors.

    Prints a note for every trait that is left out.
    """
    from traitvec_core.storage.files import display_path

    names = chosen_traits(folder, text)
    if text.strip() != "all":
        return names
    ready = [name for name in names if folder.trait(name).provenance("vectors") is not None]
    if not ready:
        raise TraitvecError(
            f"{display_path(folder.path)}: no trait has vectors yet; extract them with `traitvec"
            f" run --experiment {folder.name} --traits all`"
        )
    print_notes(f"{name} is left out: it has no vectors yet" for name in names if name not in ready)
    return ready


def read_layers(text: str | None) -> Any:
    """Read `--layers`."""
    if text is None or text.strip() == "all":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise TraitvecError(f"--layers {text!r}: give numbers such as 5,10,16, or 'all'") from None


def read_overrides(flags: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Return the settings that options and `--set name=value` override, by name."""
    import yaml

    overrides = {name: value for name, value in flags.items() if value is not None}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise TraitvecError(f"--set {assignment!r}: write --set name=value")
        try:
            overrides[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise TraitvecError(f"--set {assignment!r}: the value is not valid YAML") from None
    return overrides


def note_retirement(settings: "ExperimentSettings", *, ask: bool = False) -> None:
    """Print a note for every judge that its provider is about to shut down.

    Args:
        settings: The experiment's settings.
        ask: Whether to ask the provider, where its key is set.
    """
    from traitvec_core.judging.retirement import judge_notes

    print_notes(f"{note.text}; {note.advice}" for note in judge_notes(settings, ask=ask))


def print_notes(notes: Iterable[str]) -> None:
    """Print notes on the error stream, one per line."""
    for note in notes:
        err.print(f"[yellow]note:[/] {escape(note)}")


def verdict_mark(verdict: "VectorVerdict | None") -> str:
    """Return the verdict on a vector, coloured."""
    return f"[{_VERDICT_STYLES[verdict]}]{VERDICT_NAMES[verdict]}[/]"


@contextmanager
def loud_warnings() -> Iterator[None]:
    """Print each `TraitvecWarning` as one red line on the error stream; others are unchanged."""
    with warnings.catch_warnings():
        # By default, a warning that comes a second time from the same line is not shown.
        warnings.simplefilter("always", TraitvecWarning)
        show_other = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, lineno: int,
            file: TextIO | None = None, line: str | None = None,
        ) -> None:  # fmt: skip
            if issubclass(category, TraitvecWarning):
                err.print(f"[bold red]WARNING:[/] {escape(str(message))}")
            else:
                show_other(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def complain(error: TraitvecError) -> int:
    """Print an error, one line per problem. Returns the number of problems."""
    lines = (
        [f"{error.where}: {problem}" for problem in error.problems]
        if isinstance(error, DefinitionError)
        else [str(error)]
    )
    for line in lines:
        err.print(f"[red]error:[/] {escape(line)}")
    return len(lines)
