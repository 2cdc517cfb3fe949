"""The text of `--help`, without the line breaks of the source."""

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["command_help"]


def command_help(command: Callable[..., Any]) -> str:
    """Return a command's docstring with one line per paragraph, so that any terminal can wrap it.

    Typer keeps the line breaks of all paragraphs but the first. A line that is a command to type
    keeps its own line.
    """
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(map(_joined, paragraphs))


def _joined(paragraph: str) -> str:
    text = ""
    for line in paragraph.split("\n"):
        gap = "" if not text else "\n" if line.startswith("traitvec ") else " "
        text += gap + line
    return text
