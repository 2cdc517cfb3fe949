"""`.pt` files with a provenance record inside."""

import io
import json
import zipfile
from typing import Any

__all__ = ["RECORD", "dump_pt", "read_record"]

# Beside the tensors in the archive; torch ignores entries that it does not expect.
RECORD = "traitvec.json"
# A record has some kilobytes per vector; a small archive could unpack to far more.
_MAX_RECORD_BYTES = 50_000_000


def dump_pt(value: Any, provenance: str) -> bytes:
    """Return a `.pt` file that loads with `weights_only=True` and holds a record beside the value.

    Args:
        value: Tensors, and plain containers of them.
        provenance: JSON; `unzip -p FILE '*/traitvec.json'` prints it.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    # A .pt file is a zip archive with all entries in one folder.
    with zipfile.ZipFile(buffer, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        # A fixed date, so that equal vectors give equal files.
        archive.writestr(zipfile.ZipInfo(f"{folder}/{RECORD}"), provenance)
    return buffer.getvalue()


def read_record(data: bytes) -> dict[str, Any] | None:
    """Return the record inside a `.pt` file; None if there is none that can be read.

    Args:
        data: The file's bytes; anybody may have written them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.partition("/")[2] == RECORD]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > _MAX_RECORD_BYTES:
                return None
            record = json.loads(archive.read(names[0]))
    except (zipfile.BadZipFile, OSError, ValueError, RecursionError, NotImplementedError):
        return None
    return record if isinstance(record, dict) else None
