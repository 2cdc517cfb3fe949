"""Files and batches of both providers: kept in memory, answered when a batch ends."""

import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs

from tests.providers.replies import (
    Json,
    Provider,
    Reply,
    anthropic_error,
    fresh_id,
    openai_error,
)

Outcome = Literal["completed", "failed", "expired"]
# (provider, headers of the batch's creation, the request's body) → what the model says to it.
Execute = Callable[[Provider, Mapping[str, str], Json], Reply]
_DAY_S = 86_400
_ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass
class BatchSettings:
    """How batches go from here on.

    Attributes:
        polls_to_finish: The retrieve that first shows a batch as ended (0 and 1 are the same);
            None for never, until `FakeProvider.finish_batches`.
        outcome: How they end. "failed" is OpenAI's alone: nothing was run.
        done_share: Part of the requests, the first ones, answered before a batch expired or was
            cancelled.
        failure: Code and message of a batch that failed.
        absent_file_id: What OpenAI's `error_file_id` says where there is none. The API has been
            seen to send "" as well.
    """

    polls_to_finish: int | None = 2
    outcome: Outcome = "completed"
    done_share: float = 0.5
    failure: tuple[str, str] = (
        "token_limit_exceeded",
        "Enqueued token limit reached for gpt-4.1-mini in organization org-fake. Limit: 2,000,000 "
        "enqueued tokens. Please try again once some in_progress batches have been completed.",
    )
    absent_file_id: str | None = None


@dataclass
class Batch:
    """A batch of either provider; `status` is in OpenAI's words."""

    id: str
    provider: Provider
    headers: Mapping[str, str]
    requests: list[tuple[str, Json]] = field(default_factory=list)
    asked: Json = field(default_factory=dict)
    status: str = "validating"
    polls: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)
    errors: list[Json] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=lambda: {"created": time.time()})
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    def enter(self, status: str) -> None:
        self.status = status
        self.times[status] = time.time()


class BatchStore:
    """The files and batches of one server, and the endpoints that reach them."""

    def __init__(self, execute: Execute, base_url: Callable[[], str]) -> None:
        self.settings = BatchSettings()
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, tuple[Json, bytes]] = {}
        self._execute = execute
        self._base_url = base_url
        self._lock = threading.RLock()

    def finish(self, outcome: Outcome | None = None) -> None:
        """End every batch that is still open."""
        with self._lock:
            for batch in self.batches.values():
                if not batch.has_ended:
                    cancelled = batch.status == "cancelling"
                    self._end(batch, "cancelled" if cancelled else outcome or self.settings.outcome)

    def route(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        """The answer to a request for a file or a batch; None if it is for something else."""
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        with self._lock:
            match [method, *path.removeprefix("/v1/").split("/")]:
                case ["POST", "files"]:
                    return self._upload(headers, body)
                case ["GET", "files"]:
                    return _openai_page([f for f, _ in self.files.values()], asked)
                case [_, "files", id_, *rest]:
                    return self._file(method, id_, rest)
                case ["POST", "batches"]:
                    return self._create_openai(headers, json.loads(body))
                case ["POST", "messages", "batches"]:
                    return self._create_anthropic(headers, json.loads(body))
                case ["GET", "batches"]:
                    return _openai_page([self._openai_view(b) for b in self._of("openai")], asked)
                case ["GET", "messages", "batches"]:
                    views = [self._anthropic_view(b) for b in self._of("anthropic")]
                    return _anthropic_page(views, asked)
                case [_, "batches", id_, *rest]:
                    return self._openai_batch(method, id_, rest)
                case [_, "messages", "batches", id_, *rest]:
                    return self._anthropic_batch(method, id_, rest)
        return None

    def _of(self, provider: Provider) -> list[Batch]:
        return [batch for batch in self.batches.values() if batch.provider == provider]

    # ------------------------------------------------------------------ a batch's life

    def _poll(self, batch: Batch) -> None:
        batch.polls += 1
        last = self.settings.polls_to_finish
        if batch.has_ended:
            return
        if batch.status == "cancelling":
            self._end(batch, "cancelled")
        elif batch.errors:
            batch.enter("failed")
        elif last is not None and batch.polls >= last:
            self._end(batch, self.settings.outcome)
        elif batch.status == "validating":
            batch.enter("in_progress")
        elif last is not None and batch.polls == last - 1:
            batch.enter("finalizing")

    def _end(self, batch: Batch, status: str) -> None:
        if batch.errors or status == "failed":
            code, message = self.settings.failure
            batch.errors = batch.errors or [_invalid(code, message, None)]
            batch.enter("failed")
            return
        share = 1.0 if status == "completed" else self.settings.done_share
        for custom_id, body in batch.requests[: round(share * len(batch.requests))]:
            batch.replies[custom_id] = self._execute(batch.provider, batch.headers, body)
        if batch.provider == "openai":
            self._write_openai_files(batch, status)
        batch.enter(status)

    # ------------------------------------------------------------------ OpenAI

    def _upload(self, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = _form(headers.get("content-type", ""), body)
        if "file" not in parts or "purpose" not in parts:
            missing = "file" if "file" not in parts else "purpose"
            return openai_error(400, f"'{missing}' is a required property")
        (filename, content), purpose = parts["file"], parts["purpose"][1].decode()
        return Reply(body=self._keep_file(content, filename or "upload", purpose))

    def _keep_file(self, content: bytes, filename: str, purpose: str) -> Json:
        described: Json = {
            "object": "file",
            "id": fresh_id("file-"),
            "purpose": purpose,
            "filename": filename,
            "bytes": len(content),
            "created_at": int(time.time()),
            "expires_at": None,
            "status": "processed",
            "status_details": None,
        }
        self.files[described["id"]] = (described, content)
        return described

    def _file(self, method: str, id_: str, rest: list[str]) -> Reply | None:
        if id_ not in self.files:
            return openai_error(404, f"No such File object: {id_}", param="id")
        described, content = self.files[id_]
        if (method, rest) == ("GET", ["content"]):
            return Reply(body=content, headers={"content-type": "application/octet-stream"})
        if (method, rest) == ("GET", []):
            return Reply(body=described)
        if (method, rest) == ("DELETE", []):
            del self.files[id_]
            return Reply(body={"object": "file", "id": id_, "deleted": True})
        return None

    def _create_openai(self, headers: Mapping[str, str], asked: Json) -> Reply:
        for param in ("input_file_id", "endpoint", "completion_window"):
            if not asked.get(param):
                message = f"Missing required parameter: '{param}'."
                code = "missing_required_parameter"
                return openai_error(400, message, param=param, code=code)
        batch = Batch(fresh_id("batch_"), "openai", headers, asked=asked)
        file = self.files.get(asked["input_file_id"])
        if file is None or file[0]["purpose"] != "batch":
            message = f"No such File object: {asked['input_file_id']}"
            batch.errors.append(_invalid("file_not_found", message, None))
        else:
            batch.requests, batch.errors = _read_input(file[1], asked["endpoint"])
        self.batches[batch.id] = batch
        return Reply(body=self._openai_view(batch))

    def _openai_batch(self, method: str, id_: str, rest: list[str]) -> Reply | None:
        batch = self.batches.get(id_)
        if batch is None or batch.provider != "openai":
            return openai_error(404, f"No batch found with id '{id_}'.")
        if (method, rest) == ("POST", ["cancel"]):
            if batch.has_ended:
                message = f"Cannot cancel a batch with status '{batch.status}'."
                return openai_error(409, message)
            batch.enter("cancelling")
        elif (method, rest) == ("GET", []):
            self._poll(batch)
        else:
            return None
        return Reply(body=self._openai_view(batch))

    def _openai_view(self, batch: Batch) -> Json:
        def at(status: str) -> int | None:
            return int(batch.times[status]) if status in batch.times else None

        good = sum(reply.status == 200 for reply in batch.replies.values())
        # Nothing is counted while the input is being read.
        total = 0 if batch.status in ("validating", "failed") else len(batch.requests)
        absent = self.settings.absent_file_id
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.asked["endpoint"],
            "errors": {"object": "list", "data": batch.errors}
            if batch.status == "failed"
            else None,
            "input_file_id": batch.asked["input_file_id"],
            "completion_window": batch.asked["completion_window"],
            "status": batch.status,
            "output_file_id": batch.output_file_id or absent,
            "error_file_id": batch.error_file_id or absent,
            "created_at": at("created"),
            "in_progress_at": at("in_progress"),
            "expires_at": int(batch.times["created"]) + _DAY_S,
            "finalizing_at": at("finalizing"),
            "completed_at": at("completed"),
            "failed_at": at("failed"),
            "expired_at": at("expired"),
            "cancelling_at": at("cancelling"),
            "cancelled_at": at("cancelled"),
            "request_counts": {
                "total": total,
                "completed": good,
                "failed": len(batch.replies) - good,
            },
            "metadata": batch.asked.get("metadata"),
        }

    def _write_openai_files(self, batch: Batch, status: str) -> None:
        unrun = {
            "expired": "This request could not be executed before the completion window expired.",
            "cancelled": "This batch was cancelled before this request could be executed.",
        }
        good: list[Json] = []
        bad: list[Json] = []
        for custom_id, _ in batch.requests:
            line: Json = {
                "id": fresh_id("batch_req_"),
                "custom_id": custom_id,
                "response": None,
                "error": None,
            }
            reply = batch.replies.get(custom_id)
            if reply is None:
                line["error"] = {"code": f"batch_{status}", "message": unrun[status]}
            elif reply.action != "answer":
                message = "The underlying call to the model timed out."
                line["error"] = {"code": "request_timeout", "message": message}
            else:
                line["response"] = {
                    "status_code": reply.status,
                    "request_id": fresh_id("req_"),
                    "body": reply.body,
                }
            (good if reply and line["response"] and reply.status == 200 else bad).append(line)
        # The real API promises no order either.
        random.Random(batch.id).shuffle(good)
        stem, purpose = batch.id, "batch_output"
        if good:
            output = self._keep_file(_jsonl(good), f"{stem}_output.jsonl", purpose)
            batch.output_file_id = output["id"]
        if bad:
            errors = self._keep_file(_jsonl(bad), f"{stem}_error.jsonl", purpose)
            batch.error_file_id = errors["id"]

    # ------------------------------------------------------------------ Anthropic

    def _create_anthropic(self, headers: Mapping[str, str], asked: Json) -> Reply:
        requests = [(item["custom_id"], item["params"]) for item in asked.get("requests", ())]
        complaint = None
        if not requests:
            complaint = "requests: List should have at least 1 item after validation, not 0"
        seen: set[str] = set()
        for i, (custom_id, _) in enumerate(requests):
            if not re.fullmatch("[a-zA-Z0-9_-]{1,64}", custom_id):
                pattern = "^[a-zA-Z0-9_-]{1,64}$"
                complaint = f"requests.{i}.custom_id: String should match pattern '{pattern}'"
            if custom_id in seen:
                complaint = f"requests.{i}.custom_id: Duplicate custom_id: {custom_id}"
            seen.add(custom_id)
        if complaint:
            return anthropic_error(400, "invalid_request_error", complaint)
        batch = Batch(fresh_id("msgbatch_"), "anthropic", headers, requests, status="in_progress")
        self.batches[batch.id] = batch
        return Reply(body=self._anthropic_view(batch))

    def _anthropic_batch(self, method: str, id_: str, rest: list[str]) -> Reply | None:
        batch = self.batches.get(id_)
        if batch is None or batch.provider != "anthropic":
            message = f"Message batch {id_} not found"
            return anthropic_error(404, "not_found_error", message)
        if (method, rest) == ("GET", ["results"]):
            if not batch.has_ended:
                message = f"Message batch {id_} has no available results"
                return anthropic_error(404, "not_found_error", message)
            return Reply(
                body=_jsonl(_anthropic_results(batch)),
                headers={"content-type": "application/x-jsonl"},
            )
        if (method, rest) == ("POST", ["cancel"]):
            if not batch.has_ended:
                batch.enter("cancelling")
        elif (method, rest) == ("GET", []):
            self._poll(batch)
        elif (method, rest) == ("DELETE", []) and batch.has_ended:
            del self.batches[id_]
            return Reply(body={"id": id_, "type": "message_batch_deleted"})
        else:
            return None
        return Reply(body=self._anthropic_view(batch))

    def _anthropic_view(self, batch: Batch) -> Json:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if batch.has_ended:
            for line in _anthropic_results(batch):
                counts[line["result"]["type"]] += 1
        else:
            counts["processing"] = len(batch.requests)
        ended_at = batch.times[batch.status] if batch.has_ended else None
        running = "canceling" if batch.status == "cancelling" else "in_progress"
        results = f"{self._base_url()}/v1/messages/batches/{batch.id}/results"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.has_ended else running,
            "request_counts": counts,
            "created_at": _rfc3339(batch.times["created"]),
            "expires_at": _rfc3339(batch.times["created"] + _DAY_S),
            "ended_at": _rfc3339(ended_at),
            "archived_at": None,
            "cancel_initiated_at": _rfc3339(batch.times.get("cancelling")),
            "results_url": results if batch.has_ended else None,
        }


def _anthropic_results(batch: Batch) -> list[Json]:
    lines: list[Json] = []
    for custom_id, _ in batch.requests:
        reply = batch.replies.get(custom_id)
        result: Json
        if reply is None:
            result = {"type": "canceled" if batch.status == "cancelled" else "expired"}
        elif reply.action != "answer":
            result = {"type": "errored", "error": anthropic_error(500, "api_error", "").body}
        elif reply.status == 200:
            result = {"type": "succeeded", "message": reply.body}
        else:
            result = {"type": "errored", "error": reply.body}
        lines.append({"custom_id": custom_id, "result": result})
    random.Random(batch.id).shuffle(lines)
    return lines


def _read_input(content: bytes, endpoint: str) -> tuple[list[tuple[str, Json]], list[Json]]:
    """The requests of an input file, and what the API's validation finds wrong with it."""
    requests: dict[str, Json] = {}
    errors: list[Json] = []
    for number, text in enumerate(content.splitlines(), start=1):
        try:
            line: Any = json.loads(text)
        except ValueError:
            message = "This line is not parseable as valid JSON."
            errors.append(_invalid("invalid_json_line", message, number))
            continue
        missing = [n for n in ("custom_id", "method", "url", "body") if not line.get(n)]
        if missing:
            message = f"Missing required parameter: '{missing[0]}'."
            errors.append(_invalid("missing_required_parameter", message, number, missing[0]))
        elif line["url"] != endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            errors.append(_invalid("mismatched_url", message, number, "url"))
        elif line["custom_id"] in requests:
            message = f"The custom_id '{line['custom_id']}' for this request is a duplicate."
            errors.append(_invalid("duplicate_custom_id", message, number, "custom_id"))
        else:
            requests[line["custom_id"]] = line["body"]
    if len({body.get("model") for body in requests.values()}) > 1:
        message = "The provided model does not match the other requests of the batch."
        errors.append(_invalid("mismatched_model", message, None, "body.model"))
    if not requests and not errors:
        errors.append(_invalid("empty_file", "The batch input file is empty.", None))
    return list(requests.items()), errors


def _invalid(code: str, message: str, line: int | None, param: str | None = None) -> Json:
    return {"code": code, "message": message, "param": param, "line": line}


def _form(content_type: str, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """The fields of a multipart form: name → (filename, content)."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        return {}
    fields: dict[str, tuple[str | None, bytes]] = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(r'\bname="([^"]*)"', head.decode())
        filename = re.search(r'\bfilename="([^"]*)"', head.decode())
        if name:
            fields[name[1]] = (filename and filename[1], content.removesuffix(b"\r\n"))
    return fields


def _openai_page(items: Sequence[Json], asked: Mapping[str, str]) -> Reply:
    listed, has_more = _page(items, int(asked.get("limit", 20)), asked.get("after"))
    return Reply(body={"object": "list", **_listed(listed, has_more)})


def _anthropic_page(items: Sequence[Json], asked: Mapping[str, str]) -> Reply:
    listed, has_more = _page(items, int(asked.get("limit", 20)), asked.get("after_id"))
    return Reply(body=_listed(listed, has_more))


def _page(items: Sequence[Json], limit: int, after: str | None) -> tuple[list[Json], bool]:
    newest_first = list(reversed(items))
    ids = [item["id"] for item in newest_first]
    begin = ids.index(after) + 1 if after in ids else 0
    return newest_first[begin : begin + limit], begin + limit < len(ids)


def _listed(items: Sequence[Json], has_more: bool) -> Json:
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return {"data": list(items), "has_more": has_more, "first_id": None, "last_id": None, **ends}


def _jsonl(lines: Sequence[Json]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _rfc3339(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
