"""The errors that a user can cause and mend."""

from collections.abc import Sequence

__all__ = ["DefinitionError", "TraitvecError"]

# A file can be wrong in a million places; a message cannot.
_MAX_SHOWN = 50


class TraitvecError(Exception):
    """Something a user can mend. The message says what was wrong, where, and what to do.

    The command line prints the message alone; Dagster shows it as the failure's description.
    """


class DefinitionError(TraitvecError):
    """A trait definition or an experiment file that cannot be used.

    Args:
        where: The file, as the user would name it.
        problems: Every problem found, one line each.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        lines = [f"{where}: {problem}" for problem in self.problems[:_MAX_SHOWN]]
        if len(self.problems) > _MAX_SHOWN:
            lines.append(f"and {len(self.problems) - _MAX_SHOWN:,} more problems")
        super().__init__("; ".join(lines))
