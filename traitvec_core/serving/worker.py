"""What vLLM's workers do for traitvec: average activations before they leave the worker."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import torch
from interp_engine.address import to_address
from interp_engine.vllm_capture import encode_tensor_payload
from interp_engine.vllm_capture.requests import collect_request_rows
from interp_engine.vllm_plugin import InterpWorkerExtension

from traitvec_core.models.reading import sum_counted

__all__ = ["EXTENSION", "SERVER_PID", "WorkerExtension", "average"]

EXTENSION = f"{__name__}.WorkerExtension"
# Set by the server, whose end vLLM's processes would not notice.
SERVER_PID = "TRAITVEC_SERVING_PID"
_POLL_S = 2.0


class WorkerExtension(InterpWorkerExtension):  # type: ignore[misc]
    """interp-engine's worker methods, and one for means; vLLM mixes it into its worker class."""

    def collect_means(self, req_id: str, points: list[str], counted: list[list[int]]) -> Any:
        """Remove a request's captured rows, and return their means.

        Every rank runs this, because collecting sharded points is a collective operation.

        Args:
            req_id: The request, registered with `register_capture`.
            points: Addresses of the residual stream, in order.
            counted: Indices of the tokens to average, one list per position.

        Returns:
            An encoded float32 tensor `[n_positions, n_points, hidden_dim]`.

        Raises:
            ValueError: If a point is missing.
        """
        rows = collect_request_rows(self, req_id)
        by_point = {str(to_address(key)): value for key, value in rows.items()}
        missing = [point for point in points if point not in by_point]
        if missing:
            raise ValueError(f"vLLM captured nothing at {missing[0]}")
        return encode_tensor_payload(average([by_point[point] for point in points], counted))


def average(rows: list[torch.Tensor], counted: list[list[int]]) -> torch.Tensor:
    """Return means over tokens, summed in float32, `[n_positions, n_points, hidden_dim]`.

    Args:
        rows: `[n_tokens, hidden_dim]` of each point.
        counted: Indices of the tokens to average, one list per position; NaN where it is empty.

    Raises:
        ValueError: If an index is beyond the rows.
    """
    n_tokens = len(rows[0])
    if any(index >= n_tokens for indices in counted for index in indices):
        raise ValueError(f"vLLM captured {n_tokens} tokens, fewer than the text has")
    is_counted = torch.zeros(1, len(counted), n_tokens, dtype=torch.bool, device=rows[0].device)
    for number, indices in enumerate(counted):
        is_counted[0, number, indices] = True
    sums = torch.stack([sum_counted(is_counted, each.unsqueeze(0))[0] for each in rows], dim=1)
    return sums / is_counted[0].sum(1)[:, None, None]


def _end_with_server(pid: str) -> None:
    while Path(f"/proc/{pid}").exists():
        time.sleep(_POLL_S)
    # vLLM's engine process ends with its worker.
    os._exit(1)


# vLLM imports this module in every worker.
if os.environ.get(SERVER_PID, str(os.getpid())) != str(os.getpid()):
    threading.Thread(target=_end_with_server, args=[os.environ[SERVER_PID]], daemon=True).start()
