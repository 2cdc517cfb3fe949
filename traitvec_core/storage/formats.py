"""Tables, tensors and JSON as bytes."""

import io
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError

if TYPE_CHECKING:
    import pandas as pd
    import torch


__all__ = ["dump_csv", "dump_json", "dump_tensor", "load_tensor", "parse_csv", "response_csvs"]


_COUNTS = ("prompt_tokens", "response_tokens")


def response_csvs(frame: "pd.DataFrame", prefix: str) -> dict[str, bytes]:
    """Return the CSV bytes of both poles by path; the inverse of `read_responses`."""
    return {
        f"responses/{prefix}{pole}.csv": dump_csv(frame[frame["pole"] == pole].drop(columns="pole"))
        for pole in ("pos", "neg")
    }


def dump_csv(frame: "pd.DataFrame") -> bytes:
    """Write a table as UTF-8 CSV; a missing score is an empty field.

    Every text is quoted: a lone carriage return would otherwise end a row for some readers.
    """
    import csv

    text = frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    return text.encode("utf-8", "replace")


def parse_csv(data: bytes) -> "pd.DataFrame":
    """Read a responses table: texts stay as they are ("NA" too), scores are numbers or missing."""
    import csv

    import pandas as pd

    # The csv module keeps "\r" inside quotes as it is; pandas' own parser does not.
    csv.field_size_limit(2**31 - 1)
    rows = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
    records = list(rows)
    frame = pd.DataFrame(records, columns=list(rows.fieldnames or ()), dtype=object)
    for name in frame.columns:
        if name.endswith("_score"):
            frame[name] = pd.to_numeric(frame[name], errors="raise").astype("float64")
        elif name in _COUNTS:
            frame[name] = pd.to_numeric(frame[name], errors="raise").astype("int64")
    return frame


def dump_tensor(tensor: "torch.Tensor") -> bytes:
    """Serialise a bare tensor; it loads with `weights_only=True`."""
    import torch

    buffer = io.BytesIO()
    # A view would drag its whole storage into the file.
    torch.save(tensor.detach().cpu().contiguous().clone(), buffer)
    return buffer.getvalue()


def load_tensor(data: bytes) -> "torch.Tensor":
    """Load a bare tensor; nothing is ever unpickled.

    Raises:
        TraitvecError: If the data is anything else.
    """
    import torch

    try:
        tensor = torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # torch raises what its readers raise, of any type
        raise TraitvecError("a .pt file holds no tensor that loads with weights_only") from error
    if not isinstance(tensor, torch.Tensor):
        raise TraitvecError(f"a .pt file holds a {type(tensor).__name__}, not a bare tensor")
    return tensor


def dump_json(value: Any) -> bytes:
    """JSON with missing numbers as null: NaN is no JSON, and a browser would refuse the file."""
    return (json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n").encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
