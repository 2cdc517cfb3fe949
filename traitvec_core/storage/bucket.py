"""List, read and conditionally write objects in S3-compatible storage, through s3fs.

Credentials, region and the server's address come from the usual AWS variables and files
(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`).
"""

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from traitvec_core.errors import TraitvecError

__all__ = ["PATIENCE_S", "STORAGE_VARIABLE", "Listed", "ObjectStorage", "OvertakenError"]

STORAGE_VARIABLE = "TRAITVEC_STORAGE"
# How long to retry while a storage is unreachable.
PATIENCE_S = 120.0

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w./-]*))?", re.ASCII)
_OVERTAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_REFUSED = {
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "RequestTimeTooSkewed", "AllAccessDisabled", "AccountProblem", "403",
}  # fmt: skip
_MAX_PAUSE_S = 10.0
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class OvertakenError(Exception):
    """Another writer has put the object in the meantime."""


class _UnreachableError(Exception):
    """The storage does not answer now, but may do so later."""


@dataclass(frozen=True)
class Listed:
    """An object in a listing.

    Attributes:
        etag: Changes with the content.
        put_at: When it was put.
    """

    etag: str
    put_at: datetime


class ObjectStorage:
    """The objects under a prefix of a bucket. Names are relative to the prefix.

    Args:
        address: `s3://bucket/prefix`.

    Raises:
        TraitvecError: If the address is not valid.
    """

    def __init__(self, address: str) -> None:
        match = _ADDRESS.fullmatch(address.strip().rstrip("/"))
        prefix = (match[2] or "").strip("/") if match else ""
        if match is None or any(part in {"", ".", ".."} for part in prefix.split("/") if prefix):
            # The message does not repeat the address: it may contain a key.
            raise TraitvecError(
                f"{STORAGE_VARIABLE} must be s3://bucket or s3://bucket/prefix, with letters,"
                " digits, '.', '_' and '-'; put keys into AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY"
            )
        self._bucket = match[1]
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients: dict[int, Any] = {}
        self.address = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def listing(self, below: str = "", patience_s: float | None = None) -> dict[str, Listed]:
        """List all objects whose names start with `below`, 1,000 per request.

        Args:
            below: Start of the names.
            patience_s: How long to retry while the storage is unreachable; default `PATIENCE_S`.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """

        def pages() -> dict[str, Listed]:
            objects: dict[str, Listed] = {}
            more: dict[str, str] = {}
            while True:
                page = self._client.call_s3(
                    "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix + below, **more
                )
                for row in page.get("Contents", []):
                    name = row["Key"].removeprefix(self._prefix)
                    objects[name] = Listed(row["ETag"], row["LastModified"])
                if not page.get("IsTruncated"):
                    return objects
                more = {"ContinuationToken": page["NextContinuationToken"]}

        return self._retry(pages, patience_s)

    def read(self, names: Sequence[str], patience_s: float | None = None) -> dict[str, bytes]:
        """Read objects, several at once; missing ones are left out.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """

        def contents() -> dict[str, bytes]:
            paths = {f"{self._bucket}/{self._prefix}{name}": name for name in names}
            # Each in one request: reading in parts would first request the length.
            results = (
                self._client.cat(list(paths), on_error="return", max_concurrency=1) if paths else {}
            )
            if paths and isinstance(results, bytes):
                results = {next(iter(paths)): results}
            for result in results.values():
                if isinstance(result, Exception) and not isinstance(result, FileNotFoundError):
                    raise result
            return {paths[path]: data for path, data in results.items() if isinstance(data, bytes)}

        return self._retry(contents, patience_s)

    def put(self, name: str, data: bytes) -> None:
        """Put an object, replacing any other.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """
        self._retry(lambda: self._client.pipe_file(f"{self._bucket}/{self._prefix}{name}", data))

    def put_after(
        self, name: str, data: bytes, etag: str | None, patience_s: float | None = None
    ) -> str:
        """Replace the object that has this etag, or create a new one; return the new etag.

        Raises:
            OvertakenError: If the current object is another one.
            TraitvecError: If the storage refuses, or stays unreachable.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}

        def put() -> str:
            answer = self._client.call_s3(
                "put_object", Bucket=self._bucket, Key=self._prefix + name, Body=data, **condition
            )
            return str(answer["ETag"])

        return self._retry(put, patience_s)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """
        for name in names:
            self._retry(
                lambda name=name: self._client.call_s3(  # type: ignore[misc]
                    "delete_object", Bucket=self._bucket, Key=self._prefix + name
                )
            )

    @property
    def _client(self) -> Any:
        # The client's threads do not survive a fork.
        if self._clients.keys() != {os.getpid()}:
            self._clients = {os.getpid(): self._new_client()}
        return self._clients[os.getpid()]

    def _new_client(self) -> Any:
        try:
            import s3fs
        except ImportError:
            raise TraitvecError(
                f"{STORAGE_VARIABLE} needs the package s3fs; run `pip install 'traitvec[s3]'`"
            ) from None
        return s3fs.S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": 5,
                "read_timeout": 60,
                # `_retry` repeats calls, for a limited time.
                "retries": {"total_max_attempts": 1},
            },
        )

    def _retry(self, call: Callable[[], _T], patience_s: float | None = None) -> _T:
        """Repeat a call until it succeeds, is refused, or the time is up."""
        started = time.monotonic()
        patience_s = PATIENCE_S if patience_s is None else patience_s
        pause = 0.5
        while True:
            try:
                return self._translate_errors(call)
            except _UnreachableError as error:
                left = started + patience_s - time.monotonic()
                if left <= 0:
                    raise TraitvecError(
                        f"{self.address} cannot be reached ({error}); nothing there was changed,"
                        " run again when it is back"
                    ) from None
                if pause == 0.5:
                    _log.warning(
                        "%s cannot be reached (%s); retrying for %.0f s", self.address, error, left
                    )
                time.sleep(min(pause, left))
                pause = min(pause * 2, _MAX_PAUSE_S)

    def _translate_errors(self, call: Callable[[], _T]) -> _T:
        """Turn errors of S3 and its client into ours, without their messages."""
        from aiohttp import ClientError as ConnectionBroken
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (OSError, BotoCoreError, ClientError, ConnectionBroken) as error:
            cause = error if isinstance(error, ClientError) else error.__cause__
            response = cause.response if isinstance(cause, ClientError) else {}
            code = str(response.get("Error", {}).get("Code", ""))
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            name = type(error).__name__
        if code in _OVERTAKEN or (code == "NoSuchKey" and status == 404):
            raise OvertakenError
        if code == "NoSuchBucket":
            raise TraitvecError(
                f"{self.address}: there is no bucket {self._bucket!r}; create it, or change"
                f" {STORAGE_VARIABLE}"
            )
        if code in _REFUSED or name == "PermissionError":
            raise TraitvecError(
                f"{self.address} refuses these credentials ({code or name}); check"
                " AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their permissions for the bucket"
            )
        if name in {"NoCredentialsError", "PartialCredentialsError"}:
            raise TraitvecError(
                f"{self.address}: there are no credentials; put AWS_ACCESS_KEY_ID=… and"
                " AWS_SECRET_ACCESS_KEY=… into .env"
            )
        if code and status < 500 and code not in {"SlowDown", "RequestTimeout", "Throttling"}:
            raise TraitvecError(
                f"{self.address} answered {code} (HTTP {status}); check the address and your"
                " permissions"
            )
        raise _UnreachableError(code or name)
