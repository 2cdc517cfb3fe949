"""Failures that a user can fix, as one line in Dagster."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from traitvec_core.errors import TraitvecError

__all__ = ["one_line_failure"]


# A disk that is full or may not be written: the user's to mend.
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def one_line_failure() -> Iterator[None]:
    """Show what a user can mend as the failure's description, without a retry."""
    try:
        yield
    except TraitvecError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise dg.Failure(
            description=f"{error.strerror}{where}; what is finished is kept: mend the disk, and run"
            " again to go on",
            allow_retries=False,
        ) from None
