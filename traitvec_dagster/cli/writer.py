"""The writer that a command lets write, and what its estimate says."""

from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import err

if TYPE_CHECKING:
    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.writing import Writer

__all__ = ["most_dollars", "print_progress", "writer_for"]


def writer_for(name: str | None, settings: "ExperimentSettings", max_usd: float | None) -> "Writer":
    """Return a writer.

    Args:
        name: The model; None for the experiment's judge.
        settings: The experiment's settings.
        max_usd: What the user allows it to cost; None for the default.

    Raises:
        NoWriterError: If there is no key, or the judge cannot write.
        TraitvecError: If a budget is given and the writer's price is unknown.
    """
    from traitvec_core.writing import load_writer

    writer = load_writer(name, settings, say=print_progress)
    if writer.price is None and max_usd is not None:
        raise TraitvecError(
            f"--max-usd needs the price of {writer.name!r}, which is unknown; add `judge_prices:"
            f" {{{writer.name}: {{input: 0.25, output: 2.00}}}}` to experiment.yaml (dollars per"
            " million tokens)"
        )
    return writer


def most_dollars(max_usd: float | None) -> float:
    """Return the most that a writer may cost, in US dollars."""
    from traitvec_core.writing import DEFAULT_MAX_USD

    return DEFAULT_MAX_USD if max_usd is None else max_usd


def print_progress(line: str) -> None:
    """Print a line about progress on the error stream."""
    err.print(one_line(line))
