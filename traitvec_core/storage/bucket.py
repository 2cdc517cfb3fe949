"""Objects in S3-compatible storage: listed, read, put on a condition; every failure is one line.

Reads and writes through s3fs. Credentials, region and the server's address come from the variables
and files of AWS (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`), as with every
client of S3.
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
# How long a storage may be away before a step gives up.
PATIENCE_S = 120.0

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w./-]*))?", re.ASCII)
_OVERTAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_REFUSED = {
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "RequestTimeTooSkewed", "AllAccessDisabled", "AccountProblem", "403",
}  # fmt: skip
_LONGEST_PAUSE_S = 10.0
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class OvertakenError(Exception):
    """An object is not the one that was expected: another writer has put it meanwhile."""


class _AwayError(Exception):
    """The storage does not answer; it may do so later."""


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
    """Objects under a prefix of a bucket, by their names below it.

    Args:
        address: `s3://bucket/prefix`.

    Raises:
        TraitvecError: If the address cannot be read.
    """

    def __init__(self, address: str) -> None:
        found = _ADDRESS.fullmatch(address.strip().rstrip("/"))
        prefix = (found[2] or "").strip("/") if found else ""
        if found is None or any(part in {"", ".", ".."} for part in prefix.split("/") if prefix):
            # Not shown: somebody may have written a key into it.
            raise TraitvecError(
                f"{STORAGE_VARIABLE} must be s3://bucket or s3://bucket/prefix, with letters,"
                " digits, '.', '_' and '-'; keys belong into AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY"
            )
        self._bucket = found[1]
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients: dict[int, Any] = {}
        self.address = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def listing(self, below: str = "", patience_s: float | None = None) -> dict[str, Listed]:
        """List all objects whose names start with `below`, a page of 1,000 for each request.

        Args:
            below: Start of the names.
            patience_s: For how long to try while the storage is away; by default `PATIENCE_S`.

        Raises:
            TraitvecError: If the storage refuses, or stays away.
        """

        def pages() -> dict[str, Listed]:
            found: dict[str, Listed] = {}
            more: dict[str, str] = {}
            while True:
                page = self._client.call_s3(
                    "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix + below, **more
                )
                for row in page.get("Contents", []):
                    name = row["Key"].removeprefix(self._prefix)
                    found[name] = Listed(row["ETag"], row["LastModified"])
                if not page.get("IsTruncated"):
                    return found
                more = {"ContinuationToken": page["NextContinuationToken"]}

        return self._patiently(pages, patience_s)

    def read(self, names: Sequence[str], patience_s: float | None = None) -> dict[str, bytes]:
        """Read objects, several at once; those that are not there are left out.

        Raises:
            TraitvecError: If the storage refuses, or stays away.
        """

        def contents() -> dict[str, bytes]:
            paths = {f"{self._bucket}/{self._prefix}{name}": name for name in names}
            # In one piece each: for several pieces it would ask for the length first.
            found = (
                self._client.cat(list(paths), on_error="return", max_concurrency=1) if paths else {}
            )
            if paths and isinstance(found, bytes):
                found = {next(iter(paths)): found}
            for answer in found.values():
                if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                    raise answer
            return {paths[path]: data for path, data in found.items() if isinstance(data, bytes)}

        return self._patiently(contents, patience_s)

    def put(self, name: str, data: bytes) -> None:
        """Put an object, whatever is there.

        Raises:
            TraitvecError: If the storage refuses, or stays away.
        """
        self._patiently(
            lambda: self._client.pipe_file(f"{self._bucket}/{self._prefix}{name}", data)
        )

    def put_after(
        self, name: str, data: bytes, etag: str | None, patience_s: float | None = None
    ) -> str:
        """Put an object in place of the one with this etag, or of none; returns its etag.

        Raises:
            OvertakenError: If another is there.
            TraitvecError: If the storage refuses, or stays away.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}

        def put() -> str:
            answer = self._client.call_s3(
                "put_object", Bucket=self._bucket, Key=self._prefix + name, Body=data, **condition
            )
            return str(answer["ETag"])

        return self._patiently(put, patience_s)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects.

        Raises:
            TraitvecError: If the storage refuses, or stays away.
        """
        for name in names:
            self._patiently(
                lambda name=name: self._client.call_s3(  # type: ignore[misc]
                    "delete_object", Bucket=self._bucket, Key=self._prefix + name
                )
            )

    @property
    def _client(self) -> Any:
        # A process that was forked has none of the client's threads.
        if self._clients.keys() != {os.getpid()}:
            self._clients = {os.getpid(): self._new_client()}
        return self._clients[os.getpid()]

    def _new_client(self) -> Any:
        try:
            import s3fs
        except ImportError:
            raise TraitvecError(
                f"{STORAGE_VARIABLE} needs s3fs; install it with `pip install 'traitvec[s3]'`"
            ) from None
        return s3fs.S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": 5,
                "read_timeout": 60,
                # `_patiently` tries again, for a time that is known.
                "retries": {"total_max_attempts": 1},
            },
        )

    def _patiently(self, call: Callable[[], _T], patience_s: float | None = None) -> _T:
        """Call until it succeeds, is refused, or the storage has been away for too long."""
        started = time.monotonic()
        patience_s = PATIENCE_S if patience_s is None else patience_s
        pause = 0.5
        while True:
            try:
                return self._told(call)
            except _AwayError as away:
                left = started + patience_s - time.monotonic()
                if left <= 0:
                    raise TraitvecError(
                        f"{self.address} cannot be reached ({away}); nothing there was changed, run"
                        " again when it is back"
                    ) from None
                if pause == 0.5:
                    _log.warning(
                        "%s cannot be reached (%s); trying for %.0f s", self.address, away, left
                    )
                time.sleep(min(pause, left))
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _told(self, call: Callable[[], _T]) -> _T:
        """Turn what S3 and its client raise into one of ours. No message of theirs is shown."""
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
                f"{self.address}: there is no bucket {self._bucket!r}; make it, or change"
                f" {STORAGE_VARIABLE}"
            )
        if code in _REFUSED or name == "PermissionError":
            raise TraitvecError(
                f"{self.address} refuses these credentials ({code or name}); see AWS_ACCESS_KEY_ID,"
                " AWS_SECRET_ACCESS_KEY and what they may do with the bucket"
            )
        if name in {"NoCredentialsError", "PartialCredentialsError"}:
            raise TraitvecError(
                f"{self.address}: there are no credentials; put AWS_ACCESS_KEY_ID=… and"
                " AWS_SECRET_ACCESS_KEY=… into .env"
            )
        if code and status < 500 and code not in {"SlowDown", "RequestTimeout", "Throttling"}:
            raise TraitvecError(f"{self.address} answers with {code} ({status})")
        raise _AwayError(code or name)
