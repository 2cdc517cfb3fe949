"""Errors that users can fix, and warnings that they should see."""

from collections.abc import Sequence

from traitvec_core.visible_text import one_line

__all__ = ["DefinitionError", "TraitvecError", "TraitvecWarning"]

# A file can have a million problems; a message must stay readable.
_MAX_SHOWN = 10


class TraitvecError(Exception):
    """An error that a user can fix. The message says what was wrong, where, and what to do.

    The command line prints only the message; Dagster shows it as the failure's description. The
    message is one line, and what it quotes from elsewhere is made visible (`visible_text`).
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class DefinitionError(TraitvecError):
    """A trait definition or a settings file that is not valid.

    Args:
        where: The file, as the user would name it.
        problems: All problems, one line each.

    Attributes:
        lines: The message in lines: the first problems, each with its place, and how many more
            there are.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        lines = [one_line(f"{where}: {problem}") for problem in self.problems[:_MAX_SHOWN]]
        n_more = len(self.problems) - _MAX_SHOWN
        if n_more > 0:
            lines.append(f"and {n_more:,} more problem{'s' if n_more > 1 else ''}")
        self.lines = tuple(lines)
        super().__init__("; ".join(lines))


class TraitvecWarning(UserWarning):
    """A warning about a result, such as a vector that is not usable. One line.

    The command line prints it in red on the error stream.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
