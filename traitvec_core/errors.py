"""Errors that users can fix, and warnings that they should see."""

from collections.abc import Sequence

__all__ = ["DefinitionError", "TraitvecError", "TraitvecWarning"]

# A file can have a million problems; a message must stay readable.
_MAX_SHOWN = 50


class TraitvecError(Exception):
    """An error that a user can fix. The message says what was wrong, where, and what to do.

    The command line prints only the message; Dagster shows it as the failure's description.
    """


class DefinitionError(TraitvecError):
    """A trait definition or a settings file that is not valid.

    Args:
        where: The file, as the user would name it.
        problems: All problems, one line each.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        lines = [f"{where}: {problem}" for problem in self.problems[:_MAX_SHOWN]]
        if len(self.problems) > _MAX_SHOWN:
            lines.append(f"and {len(self.problems) - _MAX_SHOWN:,} more problems")
        super().__init__("; ".join(lines))


class TraitvecWarning(UserWarning):
    """A warning about a result, such as a vector that is not usable. One line.

    The command line prints it in red on the error stream.
    """
