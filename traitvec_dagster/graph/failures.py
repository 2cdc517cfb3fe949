"""Failures that a user can fix, as one line in Dagster."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.visible_text import visible

__all__ = ["one_line_failure"]


# A disk that is full or write-protected: for the user to fix.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def one_line_failure() -> Iterator[None]:
    """Turn an error that the user can fix into a one-line failure, without retries."""
    try:
        yield
    except TraitvecError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        where = visible(f" ({error.filename})") if error.filename else ""
        raise dg.Failure(
            description=f"{error.strerror}{where}; finished work is kept: free or repair the"
            " disk, then run again to continue",
            allow_retries=False,
        ) from None
