"""OpenAI's batches of requests."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from traitvec_core.judging.asking import BatchResult, BatchState
from traitvec_core.remote.answers import object_in, parse_json, part_of
from traitvec_core.remote.calls import CallError
from traitvec_core.remote.connection import Connection
from traitvec_core.remote.keys import redacted
from traitvec_core.remote.sdk_errors import clipped, translate_sdk_errors

__all__ = ["OpenAIBatches", "batch_lines", "name_in"]

_ENDPOINT = "/v1/chat/completions"
# Batches expire after a day; `find` does not look at older ones.
_BATCH_LIFE_S = 2 * 86_400
_MOST_PAGES = 100


class OpenAIBatches(Connection):
    """The batches of a connection with OpenAI's API."""

    @translate_sdk_errors
    async def submit(self, requests: Mapping[str, dict[str, Any]], intent: str) -> str:
        """Submit request bodies by key; returns OpenAI's id of the batch."""
        lines = [
            {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": body}
            for key, body in requests.items()
        ]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = await self._client.files.with_raw_response.create(
            file=("traitvec.jsonl", data), purpose="batch"
        )
        body = {
            "input_file_id": name_in(object_in(file.text, self), "id"),
            "endpoint": _ENDPOINT,
            "completion_window": "24h",
            "metadata": {"traitvec": intent},
        }
        answer = await self._client.post("/batches", body=body, cast_to=str)
        return name_in(object_in(answer, self), "id")

    @translate_sdk_errors
    async def find(self, intent: str) -> str | None:
        """Return OpenAI's id of a batch by our name for it; None if there is none."""
        params: dict[str, Any] = {"limit": 100}
        newest: Any = None
        for _ in range(_MOST_PAGES):
            answer = await self._client.get("/batches", cast_to=str, options={"params": params})
            page = object_in(answer, self)
            rows = page.get("data")
            rows = rows if isinstance(rows, list) else []
            batches = [row for row in rows if isinstance(row, dict)]
            for batch in batches:
                if part_of(batch, "metadata").get("traitvec") == intent:
                    return name_in(batch, "id")
            if not batches or page.get("has_more") is not True:
                break
            # Newest first, and all by the provider's clock: this machine's may have been set.
            first, last = (row.get("created_at") for row in (batches[0], batches[-1]))
            newest = newest or first
            if isinstance(newest, int) and isinstance(last, int) and newest - last > _BATCH_LIFE_S:
                break
            params["after"] = name_in(batches[-1], "id")
        return None

    @translate_sdk_errors
    async def poll(self, id_: str) -> BatchState:
        """Return how far a batch is."""
        import openai

        try:
            batch = await self._batch(id_)
        except openai.NotFoundError:
            return BatchState(0, is_ended=True, is_gone=True)
        counts = part_of(batch, "request_counts")
        numbers = [counts.get(name) for name in ("completed", "failed")]
        status = name_in(batch, "status")
        failure = ""
        if status in {"failed", "cancelled"}:
            errors = part_of(batch, "errors").get("data")
            first = errors[0] if isinstance(errors, list) and errors else None
            message = first.get("message") if isinstance(first, dict) else None
            failure = clipped(redacted(str(message or status)))
        is_ended = status in {"completed", "expired", "failed", "cancelled"}
        return BatchState(sum(n for n in numbers if isinstance(n, int)), is_ended, failure)

    @translate_sdk_errors
    async def results(self, id_: str) -> list[BatchResult]:
        """Return the results of a batch that has ended."""
        batch = await self._batch(id_)
        lines: list[dict[str, Any]] = []
        for name in ("output_file_id", "error_file_id"):
            if batch.get(name):
                file = quote(name_in(batch, name), safe="")
                answer = await self._client.get(f"/files/{file}/content", cast_to=str)
                lines += batch_lines(answer)
        return [
            BatchResult(
                str(line.get("custom_id")),
                answer.get("body") if answer.get("status_code") == 200 else None,
                is_expired=part_of(line, "error").get("code") == "batch_expired",
            )
            for line in lines
            for answer in [part_of(line, "response")]
        ]

    async def _batch(self, id_: str) -> dict[str, Any]:
        answer = await self._client.get(f"/batches/{quote(id_, safe='')}", cast_to=str)
        return object_in(answer, self)


def batch_lines(text: str) -> list[dict[str, Any]]:
    """Return the objects of a provider's file of results, one per line.

    Raises:
        CallError: If a line is no JSON object; all are then fetched again.
    """
    lines = []
    # Not `splitlines`, which also splits at characters that an answer may contain.
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise CallError("again", "unreadable results of a batch")
        lines.append(value)
    return lines


def name_in(data: dict[str, Any], name: str) -> str:
    """Return an id or a status in an answer.

    Raises:
        CallError: If there is none.
    """
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise CallError("again", f"an answer without {name}")
    return value
