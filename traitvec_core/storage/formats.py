"""Read and write tables, tensors and JSON as bytes."""

import io
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.models.response_ids import ResponseIds
from traitvec_core.storage.response_tables import response_columns

if TYPE_CHECKING:
    import pandas as pd
    import torch


__all__ = [
    "dump_csv",
    "dump_json",
    "dump_tensor",
    "dump_token_ids",
    "load_tensor",
    "parse_csv",
    "parse_token_ids",
    "response_csvs",
]


_COUNTS = [column.name for column in response_columns() if column.type == "int"]


def response_csvs(frame: "pd.DataFrame", prefix: str) -> dict[str, bytes]:
    """Return the CSV files of both poles by path; the inverse of `read_responses`."""
    return {
        f"responses/{prefix}{pole}.csv": dump_csv(frame[frame["pole"] == pole].drop(columns="pole"))
        for pole in ("pos", "neg")
    }


def dump_csv(frame: "pd.DataFrame") -> bytes:
    """Return a table as UTF-8 CSV; a missing score is an empty field.

    All text is quoted, because some readers end a row at a lone carriage return.
    """
    import csv

    text = frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    return text.encode("utf-8", "replace")


def parse_csv(data: bytes) -> "pd.DataFrame":
    """Read a table of responses: text is kept unchanged (even "NA"), scores are numbers or NaN."""
    import csv

    import pandas as pd

    # The csv module keeps "\r" inside quotes unchanged; pandas' own parser does not.
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


def dump_token_ids(ids: Mapping[str, ResponseIds]) -> bytes:
    """Return the token ids of responses by `question_id`, as JSON with one response per line."""
    lines = [
        f'{json.dumps(name)}: {{"ids": {json.dumps(row.ids)}, "n_thinking": {row.n_thinking}}}'
        for name, row in ids.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def parse_token_ids(data: bytes) -> dict[str, ResponseIds]:
    """Read what `dump_token_ids` has written.

    Raises:
        TraitvecError: If the file holds anything else.
    """
    try:
        return {
            name: ResponseIds(tuple(map(int, row["ids"])), int(row["n_thinking"]))
            for name, row in json.loads(data).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise TraitvecError(
            "responses/token_ids.json holds no token ids; materialize responses again"
        ) from None


def dump_tensor(tensor: "torch.Tensor") -> bytes:
    """Return a bare tensor as a `.pt` file, which loads with `weights_only=True`."""
    import torch

    buffer = io.BytesIO()
    # Saving a view would save its whole storage.
    torch.save(tensor.detach().cpu().contiguous().clone(), buffer)
    return buffer.getvalue()


def load_tensor(data: bytes) -> "torch.Tensor":
    """Load a bare tensor from a `.pt` file, without unpickling objects.

    Raises:
        TraitvecError: If the file holds anything else.
    """
    import torch

    try:
        tensor = torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # the readers below torch raise errors of any type
        raise TraitvecError(
            "the .pt file does not load with weights_only; save a bare tensor"
        ) from error
    if not isinstance(tensor, torch.Tensor):
        raise TraitvecError(f"the .pt file holds a {type(tensor).__name__}, not a bare tensor")
    return tensor


def dump_json(value: Any) -> bytes:
    """Return JSON with NaN and infinity as null: JSON has neither, and browsers reject them."""
    return (json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n").encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
