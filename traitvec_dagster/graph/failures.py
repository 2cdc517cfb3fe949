"""Failures that a user can fix, as one line in Dagster."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import DEFINITION_FILE
from traitvec_core.visible_text import one_line, visible
from traitvec_dagster.graph.check_events import keep_verdicts

__all__ = ["NO_PROBLEM", "PROBLEM_TAG", "OneLineFailure", "one_line_failure", "tag_problem"]

# The list of runs shows it, and with it the page of a backfill, which says only that runs failed.
PROBLEM_TAG = "traitvec/problem"
NO_PROBLEM = "none"
_MAX_CHARS = 200

# A disk that is full or write-protected: for the user to fix.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}

_FOLDER_OF_DEFINITION = re.compile(rf"\S+/(?={re.escape(DEFINITION_FILE)})")


class OneLineFailure(dg.Failure):
    """A failure whose description says everything; it is not retried.

    The run page shows it with one frame of Dagster's, instead of twenty that lead nowhere.
    """

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(description=line, allow_retries=False)

    @property
    def description(self) -> str | None:
        """What is wrong, where, and how to fix it."""
        # Dagster asks for it when it has caught the failure, just before it stores the frames.
        if self.__traceback__ is not None:
            self.__traceback__.tb_next = None
        return self._description

    @description.setter
    def description(self, line: str | None) -> None:
        self._description = line


@contextmanager
def one_line_failure(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Turn an error that the user can fix into a one-line failure, without retries.

    Whatever the error is, checks that the run now does not reach keep their last verdicts.
    """
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        keep_verdicts(context.instance, context.run)
        line = _line(error)
        if line is None:
            raise
        tag_problem(context.instance, context.run, line)
        if isinstance(error, OneLineFailure):
            raise
        raise OneLineFailure(line) from None


def tag_problem(instance: dg.DagsterInstance, run: dg.DagsterRun, line: str) -> None:
    """Tag a run with what stopped it.

    The list of runs shows the first 40 characters or so, beside the experiment and the trait, so
    the folder of the trait's definition is left out.
    """
    text = _FOLDER_OF_DEFINITION.sub("", one_line(line))
    if len(text) > _MAX_CHARS:
        text = text[: _MAX_CHARS - 1] + "…"
    instance.add_run_tags(run.run_id, {PROBLEM_TAG: text})


def _line(error: BaseException) -> str | None:
    """What to say of an error that the user can fix; None for others."""
    if isinstance(error, OneLineFailure):
        return error.line
    if isinstance(error, TraitvecError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        where = visible(f" ({error.filename})") if error.filename else ""
        return (
            f"{error.strerror}{where}; finished work is kept: free or repair the disk, then run"
            " again to continue"
        )
    return None
