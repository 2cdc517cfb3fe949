"""What all commands share in the terminal: output, options, progress."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.storage.files import display_path, list_experiments
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.project import Project

if TYPE_CHECKING:
    from traitvec_dagster.runs.parallel import ProgressEvent

__all__ = [
    "ExperimentName",
    "Root",
    "chosen_traits",
    "complain",
    "err",
    "experiment_folder",
    "live_progress",
    "live_progress_of_many",
    "note_retirement",
    "out",
    "read_layers",
    "read_overrides",
    "restore_interrupts",
]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
if not out.is_terminal:
    # A log has no edge to fold tables at.
    out = Console(soft_wrap=True, width=120)

# How often a run that is not watched in a terminal tells how far it is.
_LINE_EVERY_S = 30.0
Root = Annotated[
    Path | None,
    typer.Option(
        "--experiments-dir",
        help="Folder of the experiments. Default: $TRAITVEC_EXPERIMENTS, else ./experiments",
    ),
]
ExperimentName = Annotated[str, typer.Option("--experiment", help="Name of the experiment.")]


def experiment_folder(project: Project, name: str) -> ExperimentFolder:
    """Return an experiment that exists."""
    folder = ExperimentFolder(project.experiments, name)
    folder.refresh()
    if not folder.path.is_dir():
        there = list_experiments(project.experiments)
        known = f"there are: {', '.join(there)}" if there else "there are none yet"
        raise TraitvecError(
            f"there is no experiment {name!r} under {project.experiments} ({known});"
            f" `traitvec new-experiment {name}` makes it"
        )
    return folder


def restore_interrupts() -> None:
    """Have Ctrl-C and `kill` end this process, also in the background of a script.

    There the shell has Ctrl-C ignored. Dagster treats a `kill` like Ctrl-C, and so would this
    process, and all that it starts, be deaf to both.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def chosen_traits(folder: ExperimentFolder, wanted: str | None) -> list[str]:
    """Read `--traits`: one, several with commas, or `all`; each must have a definition."""
    there = folder.traits()
    if wanted is None:
        raise TraitvecError(
            "name what to run: --trait NAME, --traits a,b,c or --traits all"
            + (f" (there are: {', '.join(there[:20])})" if there else "")
        )
    if wanted.strip() == "all":
        if not there:
            raise TraitvecError(
                f"{display_path(folder.path)} has no trait; `traitvec new-trait` makes one"
            )
        return there
    names = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    for name in names:
        folder.trait(name).read_definition_bytes()
    if not names:
        raise TraitvecError("--trait names nothing")
    return names


def read_layers(text: str | None) -> Any:
    """Read `--layers`."""
    if text is None or text.strip() == "all":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise TraitvecError(f"--layers {text!r}: give numbers such as 5,10,16, or 'all'") from None


def read_overrides(flags: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Gather the settings that flags and `--set name=value` put in place of the file's."""
    import yaml

    overrides = {name: value for name, value in flags.items() if value is not None}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise TraitvecError(f"--set {assignment!r}: write --set name=value")
        try:
            overrides[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise TraitvecError(f"--set {assignment!r}: the value cannot be read") from None
    return overrides


def note_retirement(settings: ExperimentSettings) -> None:
    """Say when a judge's provider is about to shut it down."""
    from traitvec_core.judging.models import retirement_of

    for name in dict.fromkeys((settings.judge_model, settings.second_judge)):
        note = retirement_of(name) if name else None
        if note:
            err.print(f"[yellow]note:[/] {escape(note)}")


def complain(error: TraitvecError) -> int:
    """Print an error, one line for each problem; returns how many."""
    lines = (
        [f"{error.where}: {problem}" for problem in error.problems]
        if isinstance(error, DefinitionError)
        else [str(error)]
    )
    for line in lines:
        err.print(f"[red]error:[/] {escape(line)}")
    return len(lines)


@contextmanager
def live_progress(trait: str) -> Iterator[None]:
    """A live bar in a terminal; a line per finished stage elsewhere."""
    from traitvec_dagster.graph.resources import set_progress_sink

    with _sinks() as sink_of:
        set_progress_sink(sink_of(trait))
        try:
            yield
        finally:
            set_progress_sink(None)


@contextmanager
def live_progress_of_many() -> Iterator["Callable[[ProgressEvent], None]"]:
    """The same for traits that run side by side, a bar for each process."""
    with _sinks() as sink_of:
        sinks: dict[int, Any] = {}

        def tell(told: "ProgressEvent") -> None:
            if told.process not in sinks:
                sinks[told.process] = sink_of(told.trait)
            sink = sinks[told.process]
            sink.trait = told.trait
            if told.stage is None:
                sink.say(told.text)
            else:
                sink(told.stage, told.done, told.total, told.text)

        yield tell


@contextmanager
def _sinks() -> Iterator[Callable[[str], Any]]:
    """From a trait to what shows its progress."""
    with _own_stderr() as console, ExitStack() as stack:
        if not console.is_terminal:
            yield lambda trait: _Lines(trait, console)
            return
        bar = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
        )
        yield lambda trait: _Bar(trait, bar)


class _Bar:
    """A live bar: count, rate, cost so far, time taken and time left."""

    def __init__(self, trait: str, bar: Progress) -> None:
        self.trait = trait
        self._bar = bar
        self._stage: Stage | None = None
        self._task = bar.add_task(f"{trait}: starting", total=None, pace="")

    def __call__(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        if stage != self._stage:
            # Each stage has a pace of its own.
            self._stage = stage
            self._bar.reset(self._task)
        speed = self._bar.tasks[self._bar.task_ids.index(self._task)].speed
        pace = " ".join(part for part in (f"{speed:.1f}/s" if speed else "", note) if part)
        self._bar.update(
            self._task, description=f"{self.trait}: {stage}", completed=done, total=total,
            pace=pace,
        )  # fmt: skip

    def say(self, text: str) -> None:
        self._bar.console.print(f"{self.trait}: {escape(text)}")


class _Lines:
    """A line per finished stage, and one now and then while it lasts, for a log."""

    def __init__(self, trait: str, console: Console) -> None:
        self.trait = trait
        self._console = console
        self._last = time.monotonic()

    def __call__(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        if done == total or time.monotonic() - self._last > _LINE_EVERY_S:
            self._last = time.monotonic()
            self.say(f"{stage} {done}/{total}" + (f" {note}" if note else ""))

    def say(self, text: str) -> None:
        self._console.print(f"{self.trait}: {escape(text)}")


@contextmanager
def _own_stderr() -> Iterator[Console]:
    """A console on a descriptor of its own.

    While a step runs, Dagster points the process's descriptors at its log files; a bar that wrote
    to them would only be seen when the step is over.
    """
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):
        # Nobody's terminal: a test or a program has put something else in its place.
        yield err
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        yield Console(file=stream, soft_wrap=True)
