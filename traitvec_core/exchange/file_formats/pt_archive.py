"""`.pt` files with a provenance record inside."""

import io
import zipfile
from typing import Any

__all__ = ["RECORD", "dump_pt"]

# Beside the tensors in the archive; torch ignores entries that it does not expect.
RECORD = "traitvec.json"


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
