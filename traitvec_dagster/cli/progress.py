"""Live progress of runs in the terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from traitvec_core.stage_names import Stage
from traitvec_core.stages.context import SecondsLeft
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.console import PlainConsole, err

if TYPE_CHECKING:
    from traitvec_dagster.runs.parallel import ProgressEvent

__all__ = ["live_progress", "live_progress_of_many"]

# How often a stage in progress is reported where there is no terminal.
_LINE_EVERY_S = 30.0


@contextmanager
def live_progress(trait: str) -> Iterator[None]:
    """Show a live bar in a terminal; elsewhere, print one line per finished stage."""
    from traitvec_dagster.graph.resources import set_progress_sink

    with _sinks() as new_sink:
        set_progress_sink(new_sink(trait))
        try:
            yield
        finally:
            set_progress_sink(None)


@contextmanager
def live_progress_of_many() -> Iterator["Callable[[ProgressEvent], None]"]:
    """Like `live_progress`, for traits that run in parallel; one bar per process."""
    with _sinks() as new_sink:
        sinks: dict[int, Any] = {}

        def show(event: "ProgressEvent") -> None:
            if event.process not in sinks:
                sinks[event.process] = new_sink(event.trait)
            sink = sinks[event.process]
            sink.trait = event.trait
            if event.stage is None:
                sink.say(event.text)
            else:
                sink(event.stage, event.done, event.total, event.text, left_s=event.left_s)

        yield show


@contextmanager
def _sinks() -> Iterator[Callable[[str], Any]]:
    """Yields a function that creates the progress display of a trait."""
    with _own_stderr() as console, ExitStack() as stack:
        if not console.is_terminal:
            yield lambda trait: _Lines(trait, console)
            return
        bar = stack.enter_context(
            Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                _TimeLeft(),
                console=console,
                transient=True,
            )
        )
        yield lambda trait: _Bar(trait, bar)


class _Bar:
    """A live bar: count, rate, cost so far, time elapsed and time left."""

    def __init__(self, trait: str, bar: Progress) -> None:
        self.trait = trait
        self._bar = bar
        self._stage: Stage | None = None
        self._task = bar.add_task(f"{trait}: starting", total=None, rate="", left_s="by rate")

    def __call__(
        self,
        stage: Stage,
        done: int,
        total: int,
        note: str = "",
        *,
        left_s: SecondsLeft = "by rate",
    ) -> None:
        if stage != self._stage:
            # Each stage has its own rate.
            self._stage = stage
            self._bar.reset(self._task)
        speed = self._bar.tasks[self._bar.task_ids.index(self._task)].speed
        rate = " ".join(part for part in (f"{speed:.1f}/s" if speed else "", note) if part)
        self._bar.update(
            self._task, description=f"{self.trait}: {stage}", completed=done, total=total,
            rate=rate, left_s=left_s,
        )  # fmt: skip

    def say(self, text: str) -> None:
        self._bar.console.print(f"{self.trait}: {one_line(text)}")


class _TimeLeft(TimeRemainingColumn):
    """The time left that the stage gives, else as the rate of the last items has it."""

    # Rich keeps a column's text for so long, and time left changes with every item.
    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left_s = task.fields["left_s"]
        if left_s == "by rate":
            return super().render(task)
        text = "-:--:--" if left_s is None else str(timedelta(seconds=round(left_s)))
        return Text(text, style="progress.remaining")


class _Lines:
    """For logs: one line per finished stage, and one every half minute while it runs."""

    def __init__(self, trait: str, console: PlainConsole) -> None:
        self.trait = trait
        self._console = console
        self._last = time.monotonic()

    def __call__(
        self,
        stage: Stage,
        done: int,
        total: int,
        note: str = "",
        *,
        left_s: SecondsLeft = "by rate",
    ) -> None:
        is_done = done == total and left_s in {"by rate", 0.0}
        if is_done or time.monotonic() - self._last > _LINE_EVERY_S:
            self._last = time.monotonic()
            left = f"{timedelta(seconds=round(left_s))} left" if isinstance(left_s, float) else ""
            self.say(" ".join(part for part in (f"{stage} {done}/{total}", note, left) if part))

    def say(self, text: str) -> None:
        self._console.print(f"{self.trait}: {one_line(text)}")


@contextmanager
def _own_stderr() -> Iterator[PlainConsole]:
    """A console with its own file descriptor.

    While a step runs, Dagster redirects the descriptors of stdout and stderr to its log files, so
    a bar on stderr would only appear after the step.
    """
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):
        # Stderr is not a real file: a test or another program has replaced it.
        yield err
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        yield PlainConsole(file=stream)
