"""Files of people as bytes and as text: of bounded size, in UTF-8."""

import stat
from pathlib import Path

from traitvec_core.errors import DefinitionError

__all__ = ["parse_text", "read_file"]

_OTHER_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_file(path: Path, where: str, most_bytes: int) -> bytes:
    """Return a file's bytes.

    Args:
        path: The file.
        where: The file, as messages name it.
        most_bytes: The largest size; no more is read.

    Raises:
        DefinitionError: If it is larger, or a device or pipe, which may never end.
        OSError: If it cannot be read.
    """
    mode = path.stat().st_mode
    # To open a folder is an error by itself.
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DefinitionError(where, ["cannot be read: it is a pipe or a device; replace it"])
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise DefinitionError(where, [_too_long(path.stat().st_size, most_bytes)])
    return data


def parse_text(data: bytes, where: str, most_bytes: int) -> str:
    """Return the text of a file, without a byte-order mark.

    Args:
        data: The file's bytes.
        where: The file, as messages name it.
        most_bytes: The largest size.

    Raises:
        DefinitionError: If the file is too long or not UTF-8.
    """
    if len(data) > most_bytes:
        raise DefinitionError(where, [_too_long(len(data), most_bytes)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_called = _OTHER_BOMS.get(data[:2])
        why = f"it is {is_called}" if is_called else f"byte {error.start}"
        raise DefinitionError(where, [f"is not UTF-8 ({why}); save it as UTF-8"]) from None


def _too_long(n_bytes: int, most_bytes: int) -> str:
    return f"is {n_bytes:,} bytes long; the limit is {most_bytes:,}"
